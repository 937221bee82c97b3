//! One meter of three kinds, and what it reads. A meter is a function of a state of sixteen bytes and a moment; who keeps the state is the
//! store's business.

use crate::gcra::Gcra;
use crate::leases::Leases;
use crate::window::Window;

/// A moment, in nanoseconds, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Of a clock that all who share a store agree on, and that should only go forward.
    pub steady: u64,
    /// Since the Unix epoch.
    pub wall: u64,
}

/// What is remembered of a key by one meter. [`State::default`] is that of a key that nobody has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// From then on it is as if it were not there; by the wall clock for a [`Window`], else by the steady one.
    pub until: u64,
    /// What it means is the meter's.
    pub value: u64,
}

/// What a meter would say, or has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Whether the cost fits.
    pub passes: bool,
    /// How many more of cost 1 would fit now (of a [`Gcra`] that has a queue: without waiting).
    pub remaining: u64,
    /// Until the same cost may fit, in nanoseconds; zero where it passes, `u64::MAX` where it never will.
    pub retry_after: u64,
    /// Until the meter is as if nobody had been here, in nanoseconds.
    pub reset: u64,
    /// How long whoever passes has to wait before going on, in nanoseconds.
    pub wait: u64,
    /// What [`Operation::Release`](crate::Operation::Release) wants to know of a lease; zero of other meters.
    pub lease: u64,
}

/// A meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meter {
    /// So many, evenly.
    Gcra(Gcra),
    /// So many in each minute, hour or day of the calendar.
    Window(Window),
    /// So many at the same time.
    Leases(Leases),
}

impl Meter {
    /// What it says to a cost, and the state if that is taken.
    #[must_use]
    pub fn take(&self, state: State, cost: u64, now: Now) -> (Reading, State) {
        match self {
            Self::Gcra(gcra) => gcra.take(state, cost, now.steady),
            Self::Window(window) => window.take(state, cost, now.wall),
            Self::Leases(leases) => leases.take(state, cost, now.steady),
        }
    }

    /// What the state of one that was refused has to become, where the clock that made it has been set back since: else all would be refused
    /// until it is back where it was.
    #[must_use]
    pub fn settle(&self, state: State, now: Now) -> Option<State> {
        match self {
            Self::Gcra(gcra) => gcra.settle(state, now.steady),
            // A window that is not coming begins anew whenever it is looked at.
            Self::Window(_) => None,
            Self::Leases(leases) => leases.settle(state, now.steady),
        }
    }

    /// The state when a cost is taken whether it fits or not.
    #[must_use]
    pub fn charge(&self, state: State, cost: u64, now: Now) -> State {
        match self {
            Self::Gcra(gcra) => gcra.charge(state, cost, now.steady),
            Self::Window(window) => window.charge(state, cost, now.wall),
            Self::Leases(leases) => leases.take(state, cost, now.steady).1,
        }
    }

    /// The state when a cost is given back. `lease` is what [`Reading::lease`] said.
    #[must_use]
    pub fn give(&self, state: State, cost: u64, lease: u64, now: Now) -> State {
        match self {
            Self::Gcra(gcra) => gcra.give(state, cost, now.steady),
            Self::Window(window) => window.give(state, cost, now.wall),
            Self::Leases(leases) => leases.give(state, cost, lease, now.steady),
        }
    }

    /// The part of one of `peers` that share it evenly, rounded up to at least one.
    #[must_use]
    pub fn divided(&self, peers: u64) -> Self {
        let peers = peers.max(1);
        match self {
            Self::Gcra(gcra) => Self::Gcra(gcra.divided(peers)),
            Self::Window(window) => Self::Window(Window { limit: window.limit.div_ceil(peers), ..*window }),
            Self::Leases(leases) => Self::Leases(Leases { limit: leases.limit.div_ceil(peers), ..*leases }),
        }
    }

    /// The most that it lets in at once.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        match self {
            Self::Gcra(gcra) => gcra.burst(),
            Self::Window(window) => window.limit,
            Self::Leases(leases) => leases.limit,
        }
    }

    /// Whether its states are over by the wall clock.
    #[must_use]
    pub const fn is_of_the_wall(&self) -> bool {
        matches!(self, Self::Window(_))
    }

    /// Which states are not to be confused with those of this meter.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Gcra(_) => 1,
            Self::Window(_) => 2,
            Self::Leases(_) => 3,
        }
    }
}
