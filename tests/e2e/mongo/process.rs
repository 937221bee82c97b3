//! A server of MongoDB as a process of its own, that can be frozen, ended and started again.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{eventually, lines::Lines, process::fyke};

/// One that runs until this is dropped. What it knows is lost with it.
pub struct Process {
    child: Child,
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
        let address = eventually("the server listens", async || {
            said.find(|line| line.strip_prefix("listening on ")?.parse::<SocketAddr>().ok())
        });
        let address = address.await;
        Self { child, address }
    }

    /// Ends it at once, and starts another at the same port.
    pub async fn replace(&mut self) {
        self.kill();
        *self = Self::at(self.address.port()).await;
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it where it is: its socket still takes connections and bytes, and nothing is answered.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP);
        let status = format!("/proc/{}/stat", self.child.id());
        // The signal is under way for a moment.
        eventually("the server is frozen", async || {
            std::fs::read_to_string(&status).unwrap().contains(") T ").then_some(())
        })
        .await;
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
