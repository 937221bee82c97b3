//! What became of the lines: atomics that the host shows as metrics. Numbers only grow.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
};

/// Why lines were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// A line alone is longer than a datagram may be.
    TooLong,
    /// There is no memory left to remember the series; its lines are counted as one.
    Memory,
    /// A number that no line can say (not a number, infinite); counted once per flush.
    Number,
    /// A flush read the same series twice; the second is dropped.
    Duplicate,
    /// The datagram could not be sent, or one before it in the same flush.
    Failed,
    /// The process ended first.
    Shutdown,
}

impl DropReason {
    /// Every reason, in the order of [`Statistics`].
    pub const ALL: [Self; 6] =
        [Self::TooLong, Self::Memory, Self::Number, Self::Duplicate, Self::Failed, Self::Shutdown];

    /// Its word in labels of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Memory => "memory",
            Self::Number => "number",
            Self::Duplicate => "duplicate",
            Self::Failed => "failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What went wrong with the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// Its name could not be looked up.
    Lookup,
    /// No address of it is known yet.
    Unknown,
    /// Nobody listens there.
    Refused,
    /// No way leads there, or the system allows none.
    Unreachable,
    /// The socket took nothing for too long, or the flush took as long as an interval.
    Timeout,
    /// The datagram is larger than the network or the socket allows; the next may fit.
    TooLarge,
    /// Anything else.
    Other,
}

impl FailureReason {
    /// Every reason, in the order of [`Statistics`].
    pub const ALL: [Self; 7] =
        [Self::Lookup, Self::Unknown, Self::Refused, Self::Unreachable, Self::Timeout, Self::TooLarge, Self::Other];

    /// Its word in labels of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }
}

/// The numbers of one exporter. Shared by its task and whoever shows them.
#[derive(Debug)]
pub struct Statistics {
    flushes: AtomicU64,
    lines: AtomicU64,
    datagrams: AtomicU64,
    bytes: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    failures: [AtomicU64; FailureReason::ALL.len()],
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            flushes: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped: array::from_fn(|_| AtomicU64::new(0)),
            failures: array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Statistics {
    /// Flushes that came to their end, whatever they achieved.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Lines that the system took.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Datagrams that the system took. Whether they arrived, nobody knows.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }

    /// Bytes in those, without headers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lines that were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How often this went wrong.
    #[must_use]
    pub fn failures(&self, reason: FailureReason) -> u64 {
        self.failures.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn count_flush(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_sent(&self, lines: u64, bytes: usize) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
        self.datagrams.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn count_dropped(&self, reason: DropReason, lines: u64) {
        if let Some(count) = self.dropped.get(reason as usize) {
            count.fetch_add(lines, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_failure(&self, reason: FailureReason) {
        if let Some(count) = self.failures.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_counts_for_itself() {
        let statistics = Statistics::default();
        for (times, reason) in (1..).zip(DropReason::ALL) {
            statistics.count_dropped(reason, times);
        }
        for reason in FailureReason::ALL {
            statistics.count_failure(reason);
        }
        assert_eq!(DropReason::ALL.map(|reason| statistics.dropped(reason)), [1, 2, 3, 4, 5, 6]);
        assert_eq!(FailureReason::ALL.map(|reason| statistics.failures(reason)), [1; 7]);
    }
}
