//! A server of MongoDB as a process of its own, that can be frozen, ended and started again.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use fyke_peers::Running;

use crate::support::{eventually, lines::Lines, process::fyke};

/// One that runs until this is dropped. What it knows is lost with it.
pub struct Process {
    pub process: Running,
    pub address: SocketAddr,
}

impl Process {
    /// One that poses as a mongos.
    pub async fn start() -> Self {
        Self::at(0).await
    }

    async fn at(port: u16) -> Self {
        // The workspace's tests build it beside the proxy.
        let mut child = Command::new(fyke().with_file_name("mongo-server"))
            .args(["--pose", "mongos", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mongo-server is beside the proxy's binary");
        let said = Lines::collect(child.stdout.take().unwrap());
        let process = Running(child);
        let address = eventually("the server listens", async || {
            said.find(|line| line.strip_prefix("listening on ")?.parse::<SocketAddr>().ok())
        });
        let address = address.await;
        Self { process, address }
    }

    /// Ends it at once, and starts another at the same port.
    pub async fn replace(&mut self) {
        self.process.kill();
        *self = Self::at(self.address.port()).await;
    }
}
