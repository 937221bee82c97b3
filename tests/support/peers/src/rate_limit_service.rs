//! `rate_limit_service.py`

use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::script::{self, LONG, Script, python};

/// One that runs until this is dropped.
pub struct RateLimitService {
    python: OsString,
    settings: Value,
    running: Running,
    pub port: u16,
}

struct Running {
    script: Script,
    /// Questions that came before what was waited for.
    asked: Vec<Value>,
    said: u64,
}

impl RateLimitService {
    /// With these settings; `rate_limit_service.py` says which there are. `None`: there is no Python.
    #[must_use]
    pub fn start(settings: Value) -> Option<Self> {
        let python = python()?;
        let (running, port) = Running::at(&python, 0, &settings);
        Some(Self { python, settings, running, port })
    }

    /// Changes settings, until it ends. They are in force when this returns.
    pub fn say(&mut self, settings: &Value) {
        self.running.say(settings);
    }

    /// What it has been asked since it was last looked at.
    pub fn asked(&mut self) -> Vec<Value> {
        let running = &mut self.running;
        running.asked.extend(running.script.said());
        std::mem::take(&mut running.asked)
    }

    /// Ends it at once. Whatever it knew is lost.
    pub fn kill(&mut self) {
        self.running.script.end();
    }

    /// Starts it again, at the same port and with the settings that it had at first.
    pub fn restart(&mut self) {
        self.kill();
        (self.running, _) = Running::at(&self.python, self.port, &self.settings);
    }

    /// Stops it where it is: its socket still takes connections and bytes, and nothing is answered.
    pub fn freeze(&self) {
        self.running.script.signal(Signal::STOP);
        let status = format!("/proc/{}/stat", self.running.script.id());
        let until = Instant::now() + LONG;
        // The signal is under way for a moment.
        while !std::fs::read_to_string(&status).unwrap().contains(") T ") {
            assert!(Instant::now() < until, "it is not frozen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.running.script.signal(Signal::CONT);
    }
}

impl Running {
    /// The same at a port; 0: at any.
    fn at(python: &OsString, port: u16, settings: &Value) -> (Self, u16) {
        let script = Script::start(python, "rate_limit_service.py", &[port.to_string(), settings.to_string()]);
        let port = script.hear(|line| script::port(&line));
        let port = port.expect("the rate limit service starts: are grpcio and xds-protos installed?");
        (Self { script, asked: Vec::new(), said: 0 }, port)
    }

    fn say(&mut self, settings: &Value) {
        let Self { script, asked, said } = self;
        script.say(settings);
        *said += 1;
        let done = script.hear(|line| {
            let done = line["done"].as_u64();
            if done.is_none() {
                asked.push(line);
            }
            done
        });
        assert_eq!(done, Some(*said));
    }
}
