//! The checks of one host in their order: what each means, and when the next is due. Pure.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;

use super::{Schedule, Seen, Settings, State, Traffic, Verdict};

/// See the module.
#[derive(Debug)]
pub struct Course {
    settings: Arc<Settings>,
    state: State,
    /// For jitter.
    random: Rng,
}

impl Course {
    /// Of a host that was never checked.
    #[must_use]
    pub fn new(settings: Arc<Settings>, random: Rng) -> Self {
        Self { state: State::new(&settings), settings, random }
    }

    /// How long the first check is put off.
    pub fn first(&mut self) -> Duration {
        Schedule::new(&self.settings).first(&mut self.random)
    }

    /// A check has ended: what is to be told of it, and how long after it the next one is due.
    pub fn checked(&mut self, verdict: Verdict, elapsed: Duration, traffic: Traffic) -> (Seen, Duration) {
        let seen = self.state.see(verdict, elapsed);
        let next = Schedule::new(&self.settings).next(&seen.verdict, seen.transition, traffic, &mut self.random);
        (seen, next)
    }

    /// Requests have failed the host. The next check is due when it was.
    #[must_use]
    pub fn failed_by_traffic(&mut self, verdict: Verdict) -> Seen {
        self.state.see(verdict, Duration::ZERO)
    }
}
