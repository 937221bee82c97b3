//! How many at the same time, where a release may be lost: a worker that ends takes its leases with it.
//!
//! Leases are counted by the epoch in which they began, this one's and the one before; an epoch is as long as a lease may be. What was not
//! given back is forgotten with its epoch, one to two such times after it was taken. `State::value` has both counts, `State::until` the end of
//! the epoch after this one, when nothing of it matters any more.

use crate::meter::{Reading, State};

/// `limit` at the same time, each for at most `expiry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leases {
    /// How many; at most 4294967295.
    pub limit: u64,
    /// After how long a lease that was not given back is forgotten, at the earliest; in nanoseconds. Twice that at the latest.
    pub expiry: u64,
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    epoch: u64,
    current: u64,
    previous: u64,
}

impl Leases {
    fn read(&self, state: State, now: u64) -> Counts {
        let expiry = self.expiry.max(1);
        let epoch = now / expiry;
        let known = (state.until / expiry).saturating_sub(2);
        let (current, previous) = (state.value >> 32, state.value & u64::from(u32::MAX));
        let known = known.min(epoch.saturating_add(1));
        match epoch.checked_sub(known) {
            _ if state == State::default() => Counts { epoch, current: 0, previous: 0 },
            // The clock was set back: what is counted goes on being counted, as if it had begun now.
            None => Counts { epoch, current: current.saturating_add(previous), previous: 0 },
            Some(0) => Counts { epoch, current, previous },
            Some(1) => Counts { epoch, current: 0, previous: current },
            Some(_) => Counts { epoch, current: 0, previous: 0 },
        }
    }

    fn write(&self, counts: Counts) -> State {
        let most = u64::from(u32::MAX);
        State {
            until: counts.epoch.saturating_add(2).saturating_mul(self.expiry.max(1)),
            value: counts.current.min(most) << 32 | counts.previous.min(most),
        }
    }

    pub(crate) fn take(&self, state: State, cost: u64, now: u64) -> (Reading, State) {
        let counts = self.read(state, now);
        let held = counts.current.saturating_add(counts.previous);
        let after = held.saturating_add(cost);
        let passes = after <= self.limit || cost == 0;
        let expiry = self.expiry.max(1);
        let retry_after = match (passes, cost > self.limit) {
            (true, _) => 0,
            (false, true) => u64::MAX,
            // Nobody knows when one is given back; a second is a usual guess.
            (false, false) => expiry.min(1_000_000_000),
        };
        let reading = Reading {
            passes,
            remaining: self.limit.saturating_sub(if passes { after } else { held }),
            retry_after,
            reset: expiry,
            wait: 0,
            // Never zero, which means none.
            lease: counts.epoch.saturating_add(1),
        };
        (reading, self.write(Counts { current: counts.current.saturating_add(cost), ..counts }))
    }

    pub(crate) fn settle(&self, state: State, now: u64) -> Option<State> {
        let expiry = self.expiry.max(1);
        let is_ahead = (state.until / expiry).saturating_sub(2) > now / expiry;
        is_ahead.then(|| self.write(self.read(state, now)))
    }

    pub(crate) fn give(&self, state: State, cost: u64, lease: u64, now: u64) -> State {
        let mut counts = self.read(state, now);
        match counts.epoch.saturating_add(1).checked_sub(lease) {
            // Before the clock was set back, or in this epoch.
            None | Some(0) => counts.current = counts.current.saturating_sub(cost),
            Some(1) => counts.previous = counts.previous.saturating_sub(cost),
            // Forgotten already.
            Some(_) => {}
        }
        self.write(counts)
    }
}
