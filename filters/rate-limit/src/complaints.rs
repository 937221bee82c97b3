//! What goes wrong for many requests at once is said once a second.

use std::cell::Cell;

use fyke_sdk::abi::{self, Level};
use fyke_sdk::log;

/// In nanoseconds.
const PAUSE: u64 = 1_000_000_000;

/// Of one configuration, on one worker.
#[derive(Debug, Default)]
pub struct Complaints {
    /// Nothing is said before, by the monotonic clock.
    until: Cell<u64>,
    unsaid: Cell<u64>,
}

impl Complaints {
    /// Writes it to the log, unless something was just written.
    pub fn say(&self, message: &str) {
        let now = abi::monotonic();
        if now < self.until.get() {
            self.unsaid.set(self.unsaid.get().saturating_add(1));
            return;
        }
        self.until.set(now.saturating_add(PAUSE));
        match self.unsaid.take() {
            0 => log::write(Level::Warn, message),
            more => log::write(Level::Warn, &format!("{message} ({more} such lines were left out before)")),
        }
    }
}
