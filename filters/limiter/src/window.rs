//! Quotas by the calendar: a count that begins anew with each minute, hour or day in UTC.
//!
//! `State::until` is the end of the window that `State::value` counts.

use crate::meter::{Reading, State};
use crate::rate::Quota;

/// `limit` in each window of `period`; windows begin at multiples of it since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many.
    pub limit: u64,
    /// In nanoseconds.
    pub period: u64,
}

impl Window {
    /// Of a quota.
    #[must_use]
    pub const fn new(quota: Quota) -> Self {
        Self { limit: quota.amount.get(), period: quota.per.nanoseconds() }
    }

    /// What is counted, and the end of the window. A clock that was set back into the window before goes on with what it has, lest
    /// anybody have that window twice; one that was set back by more begins anew, lest anybody wait for a year that is not coming.
    fn current(&self, state: State, now: u64) -> State {
        let period = self.period.max(1);
        let end = (now / period).saturating_add(1).saturating_mul(period);
        let known = state.until == end || state.until == end.saturating_add(period);
        if known { state } else { State { until: end, value: 0 } }
    }

    pub(crate) fn take(&self, state: State, cost: u64, now: u64) -> (Reading, State) {
        let current = self.current(state, now);
        let after = current.value.saturating_add(cost);
        let passes = after <= self.limit || cost == 0;
        let left = if passes { after } else { current.value };
        let rest = current.until.saturating_sub(now);
        let retry_after = match (passes, cost > self.limit) {
            (true, _) => 0,
            (false, true) => u64::MAX,
            (false, false) => rest,
        };
        let remaining = self.limit.saturating_sub(left);
        let reading = Reading { passes, remaining, retry_after, reset: rest, wait: 0, lease: 0 };
        (reading, State { until: current.until, value: after })
    }

    pub(crate) fn charge(&self, state: State, cost: u64, now: u64) -> State {
        self.take(state, cost, now).1
    }

    pub(crate) fn give(&self, state: State, cost: u64, now: u64) -> State {
        let current = self.current(state, now);
        State { until: current.until, value: current.value.saturating_sub(cost) }
    }
}
