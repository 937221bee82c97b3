//! A process beside the proxy, that can be frozen and ended.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// One that runs until this is dropped.
pub struct Running(pub Child);

impl Running {
    /// Ends it at once. Whatever it knew is lost.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Stops it where it is: its socket still takes connections and bytes, and nothing is answered.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP);
        let status = format!("/proc/{}/stat", self.0.id());
        // The signal is under way for a moment.
        eventually("the process is frozen", async || {
            std::fs::read_to_string(&status).unwrap().contains(") T ").then_some(())
        })
        .await;
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
