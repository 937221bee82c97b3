//! What became of the records: atomics that the host shows as metrics.
//!
//! Every record that was offered ends in exactly one of exported, rejected or dropped (or still waits). Numbers only
//! grow. A collector that claims to have rejected more than it was sent is believed up to what it was sent.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
};

/// Why a record was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The queue held as many records as it may.
    QueueFull,
    /// The queue held as many bytes as it may, or the record alone is larger than a request may be.
    Bytes,
    /// The collector refused it, or could not be reached for as long as is tried.
    Failed,
    /// The process ended first.
    Shutdown,
}

impl DropReason {
    /// Every reason, in the order of [`Statistics`].
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::Bytes, Self::Failed, Self::Shutdown];

    /// Its word in labels of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Bytes => "bytes",
            Self::Failed => "failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Why a request failed. Whether it is sent again is another question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// No connection: refused, no such name, TLS.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection or the stream broke.
    Transport,
    /// The answer is not OTLP, or larger than an answer may be.
    Protocol,
    /// The collector has too much to do: HTTP 429, gRPC `RESOURCE_EXHAUSTED`.
    Throttled,
    /// The collector cannot now: HTTP 502 to 504, gRPC `UNAVAILABLE` and its like.
    Unavailable,
    /// The collector does not want it: any other status.
    Refused,
}

impl FailureReason {
    /// Every reason, in the order of [`Statistics`].
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Timeout,
        Self::Transport,
        Self::Protocol,
        Self::Throttled,
        Self::Unavailable,
        Self::Refused,
    ];

    /// Its word in labels of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Protocol => "protocol",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }
}

/// The numbers of one exporter. Shared by its queue, its task and whoever shows them.
#[derive(Debug)]
pub struct Statistics {
    exported: AtomicU64,
    rejected: AtomicU64,
    requests: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    failures: [AtomicU64; FailureReason::ALL.len()],
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            exported: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            dropped: array::from_fn(|_| AtomicU64::new(0)),
            failures: array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Statistics {
    /// Records that the collector took.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Records that it named as rejected in answers of partial success.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Requests that were attempted, repeated ones included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Records that were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Requests that failed for this reason.
    #[must_use]
    pub fn failures(&self, reason: FailureReason) -> u64 {
        self.failures.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// A collector took a request of so many records, all but `rejected`.
    pub(crate) fn count_accepted(&self, records: u64, rejected: u64) {
        let rejected = rejected.min(records);
        self.exported.fetch_add(records.saturating_sub(rejected), Ordering::Relaxed);
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_dropped(&self, reason: DropReason, records: u64) {
        if let Some(count) = self.dropped.get(reason as usize) {
            count.fetch_add(records, Ordering::Relaxed);
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
        assert_eq!(DropReason::ALL.map(|reason| statistics.dropped(reason)), [1, 2, 3, 4]);
        assert_eq!(FailureReason::ALL.map(|reason| statistics.failures(reason)), [1; 7]);
    }

    #[test]
    fn a_collector_cannot_reject_more_than_it_was_sent() {
        let statistics = Statistics::default();
        statistics.count_accepted(5, u64::MAX);
        statistics.count_accepted(5, 2);
        assert_eq!((statistics.exported(), statistics.rejected()), (3, 7));
    }
}
