//! One endpoint, as all workers see it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
};

use super::{balance::Health, health::outlier::HostOutlier};
use crate::config::resolved;

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
        } else if has(Mark::Draining) {
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
            (Mark::Absent, "no longer discovered"),
        ];
        words.into_iter().filter(|(mark, _)| self.has(*mark)).map(|(_, word)| word).collect()
    }
}

const UNHEALTHY: u8 = Mark::FailedCheck as u8 | Mark::Ejected as u8;

#[cfg(test)]
mod tests {
    use super::*;

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
