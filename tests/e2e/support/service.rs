//! Services that the binary is besides a proxy.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use fyke_peers::Running;

use super::{eventually, lines::Lines, process::fyke};

/// One that runs until this is dropped.
pub struct Service {
    _process: Running,
    log: Lines,
    pub address: SocketAddr,
}

impl Service {
    /// Starts it, and waits until it says where it listens.
    pub async fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(fyke())
            .args(["--log-format", "json", "--log", "info"])
            .args(arguments)
            .env_remove("FYKE_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap();
        let log = Lines::collect(process.0.stderr.take().unwrap());
        let found = eventually(format!("{arguments:?} to listen"), async || {
            log.find(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                (line["message"] == "listening").then(|| line["address"].as_str()?.parse().ok())?
            })
        });
        let address = found.await;
        Self { _process: process, log, address }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.log.all()
    }
}
