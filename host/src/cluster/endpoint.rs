//! One endpoint, as all workers see it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{balance::Health, health::outlier::HostOutlier};
use crate::{config::resolved, telemetry::histogram::SharedDurations};

/// An endpoint of one membership: what is written of it, and what is known.
#[derive(Debug)]
pub struct SharedEndpoint {
    /// What is written.
    pub settings: Arc<resolved::Endpoint>,
    /// What is known. It outlives generations.
    pub status: Arc<Status>,
    /// What requests tell of it, where somebody wants to know.
    pub outlier: Option<Arc<HostOutlier>>,
}

impl SharedEndpoint {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.settings.address
    }
}

/// What is known of an endpoint, by whoever watches it.
#[derive(Debug)]
pub struct Status {
    marks: AtomicU8,
    /// What it says of its own weight, of 100.
    percent: AtomicU32,
    /// Milliseconds since 1970; 0: from the beginning.
    healthy_since: AtomicU64,
    /// Connections that are open to it, over all workers.
    pub connections: AtomicU32,
    /// What the last health check found wrong; empty: nothing.
    pub finding: Mutex<String>,
    /// The last health check.
    pub checked: Mutex<Option<Checked>>,
    /// The weight that an operator has set; [`NO_WEIGHT`]: none has.
    weight: AtomicU32,
    /// What became of requests to it.
    pub tally: Tally,
}

/// No operator has set a weight.
const NO_WEIGHT: u32 = u32::MAX;

/// What a health check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// When it ended, in milliseconds since 1970.
    pub at: u64,
    /// How long it took; nothing for a failure that requests saw.
    pub took: Option<Duration>,
    /// Whether it passed.
    pub passed: bool,
    /// What was wrong; empty: nothing.
    pub finding: String,
}

/// What became of requests to an endpoint since it is known, over all workers.
#[derive(Debug, Default)]
pub struct Tally {
    /// From the loan of a connection to the head of the answer.
    pub answers: SharedDurations,
    /// Requests that are under way.
    pub active: AtomicU32,
    /// Answers 500 to 599.
    pub server_errors: AtomicU64,
    /// Connections that did not come about.
    pub connect_failures: AtomicU64,
    /// Connections, or answers, that took too long.
    pub timeouts: AtomicU64,
    /// Connections that broke before there was an answer.
    pub resets: AtomicU64,
}

/// A reason not to use an endpoint, or to use it less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// The active health check failed.
    FailedCheck = 1,
    /// Outlier detection has ejected it.
    Ejected = 2,
    /// It says that it is degraded.
    Degraded = 4,
    /// It takes no new requests where others can.
    Draining = 8,
    /// An operator has it drain.
    Drained = 16,
    /// Discovery no longer knows it, but it is still healthy.
    Absent = 32,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            marks: AtomicU8::new(0),
            percent: AtomicU32::new(100),
            healthy_since: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            finding: Mutex::default(),
            checked: Mutex::default(),
            weight: AtomicU32::new(NO_WEIGHT),
            tally: Tally::default(),
        }
    }
}

impl Status {
    /// What it says of its own weight (an agent check), of 100. Returns whether that changed anything.
    pub fn weigh(&self, percent: u32) -> bool {
        self.percent.swap(percent, Ordering::Relaxed) != percent
    }

    /// What it says of its own weight, of 100.
    #[must_use]
    pub fn percent(&self) -> u32 {
        self.percent.load(Ordering::Relaxed)
    }

    /// The weight that an operator has set.
    #[must_use]
    pub fn weight(&self) -> Option<u32> {
        Some(self.weight.load(Ordering::Relaxed)).filter(|weight| *weight != NO_WEIGHT)
    }

    /// An operator sets a weight; `None`: what is written counts again. Returns whether that changed anything.
    pub fn set_weight(&self, weight: Option<u32>) -> bool {
        let weight = weight.unwrap_or(NO_WEIGHT);
        self.weight.swap(weight, Ordering::Relaxed) != weight
    }

    /// When it became healthy again, in milliseconds since 1970, if it was not from the beginning.
    #[must_use]
    pub fn healthy_since(&self) -> Option<u64> {
        Some(self.healthy_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// It is healthy from now on.
    pub fn recovered(&self, now: u64) {
        self.healthy_since.store(now, Ordering::Relaxed);
    }

    /// Sets or takes away a mark. Returns whether that changed anything.
    pub fn mark(&self, mark: Mark, on: bool) -> bool {
        let bit = mark as u8;
        let before =
            if on { self.marks.fetch_or(bit, Ordering::AcqRel) } else { self.marks.fetch_and(!bit, Ordering::AcqRel) };
        (before & bit != 0) != on
    }

    /// The same without what nobody would correct any more: what outlier detection said, or what checks said.
    #[must_use]
    pub fn without(&self, ejections: bool, findings: bool) -> Self {
        let status = Self {
            marks: AtomicU8::new(self.marks.load(Ordering::Acquire)),
            percent: AtomicU32::new(self.percent()),
            healthy_since: AtomicU64::new(self.healthy_since.load(Ordering::Relaxed)),
            weight: AtomicU32::new(self.weight.load(Ordering::Relaxed)),
            ..Self::default()
        };
        if ejections {
            status.mark(Mark::Ejected, false);
        }
        if findings {
            for mark in [Mark::FailedCheck, Mark::Degraded, Mark::Draining] {
                status.mark(mark, false);
            }
            status.weigh(100);
        }
        status
    }

    /// Whether it has a mark.
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.marks.load(Ordering::Relaxed) & mark as u8 != 0
    }

    /// Whether no mark keeps requests away.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & UNHEALTHY == 0
    }

    /// All marks together.
    #[must_use]
    pub fn health(&self) -> Health {
        let marks = self.marks.load(Ordering::Relaxed);
        let has = |mark: Mark| marks & mark as u8 != 0;
        if marks & UNHEALTHY != 0 {
            Health::Unhealthy
        } else if has(Mark::Draining) || has(Mark::Drained) || self.weight() == Some(0) {
            Health::Draining
        } else if has(Mark::Degraded) {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }

    /// Why it is not healthy, in words; empty when it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        let words = [
            (Mark::FailedCheck, "health check failed"),
            (Mark::Ejected, "ejected as an outlier"),
            (Mark::Degraded, "says that it is degraded"),
            (Mark::Draining, "draining"),
            (Mark::Drained, "drained by an operator"),
            (Mark::Absent, "no longer discovered"),
        ];
        let marked = words.into_iter().filter(|(mark, _)| self.has(*mark)).map(|(_, word)| word);
        marked.chain((self.weight() == Some(0)).then_some("has weight 0, set by an operator")).collect()
    }
}

const UNHEALTHY: u8 = Mark::FailedCheck as u8 | Mark::Ejected as u8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_wants_outlives_what_checks_found() {
        let status = Status::default();
        assert!(status.mark(Mark::Drained, true) && status.mark(Mark::FailedCheck, true));
        assert!(status.set_weight(Some(7)) && !status.set_weight(Some(7)));
        let next = status.without(true, true);
        assert_eq!((next.health(), next.weight()), (Health::Draining, Some(7)));
        assert!(next.mark(Mark::Drained, false) && next.health() == Health::Healthy);
        assert!(next.set_weight(Some(0)));
        assert_eq!((next.health(), next.reasons().len(), next.is_usable()), (Health::Draining, 1, true));
        assert!(next.set_weight(None) && next.health() == Health::Healthy);
    }

    #[test]
    fn the_worst_mark_counts_and_each_is_taken_away_alone() {
        let status = Status::default();
        assert!(status.mark(Mark::Degraded, true) && !status.mark(Mark::Degraded, true));
        assert_eq!(status.health(), Health::Degraded);
        assert!(status.mark(Mark::Ejected, true) && status.mark(Mark::FailedCheck, true));
        assert!(status.mark(Mark::Ejected, false));
        assert_eq!((status.health(), status.is_usable()), (Health::Unhealthy, false));
        assert!(status.mark(Mark::FailedCheck, false));
        assert_eq!(status.reasons(), ["says that it is degraded"]);
        assert!(status.mark(Mark::Degraded, false) && status.is_usable());
        assert_eq!(status.health(), Health::Healthy);
    }
}
