//! The algorithms against their definitions, in simulated time; the stores under threads.

mod configuration;
mod gcra;
mod keys;
mod leases;
#[cfg(feature = "redis")]
mod redis;
mod stores;
mod table;
mod threads;
mod window;
mod wire;

use crate::{Amount, Gcra, Meter, Now, Quota, Rate, Reading, State};

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Some moment in 2023.
pub const THEN: u64 = 1_700_000_000 * SECOND;

pub fn at(time: u64) -> Now {
    Now { steady: time, wall: time }
}

pub fn gcra(rate: &str, burst: u64) -> Gcra {
    Gcra::new(Rate::parse(rate).unwrap(), Amount::new(burst).unwrap())
}

pub fn quota(text: &str) -> Meter {
    Meter::Window(crate::Window::new(Quota::parse(text).unwrap()))
}

/// A meter with a state of its own.
pub struct Single {
    pub meter: Meter,
    pub state: State,
}

impl Single {
    pub fn new(meter: Meter) -> Self {
        Self { meter, state: State::default() }
    }

    pub fn take(&mut self, cost: u64, now: u64) -> Reading {
        let (reading, after) = self.meter.take(self.state, cost, at(now));
        if reading.passes {
            self.state = after;
        } else if let Some(settled) = self.meter.settle(self.state, at(now)) {
            self.state = settled;
        }
        reading
    }
}
