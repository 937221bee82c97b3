//! A process beside the tests, that can be frozen and ended.

use std::process::Child;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// One that runs until this is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Ends it at once. Whatever it knew is lost.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Stops it where it is: its socket still takes connections and bytes, and nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // The signal is under way for a moment.
        let stopped = waitpid(Some(Pid::from_child(&self.0)), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "it has ended");
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
