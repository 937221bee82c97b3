//! How many connections there are and were.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// Connections of a server, as counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    current: AtomicUsize,
    peak: AtomicUsize,
    total: AtomicI64,
    refused: AtomicUsize,
}

/// Connections of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Open now.
    pub current: usize,
    /// Most that were open at a time.
    pub peak: usize,
    /// Ever accepted; the number of the last one.
    pub total: i64,
    /// Closed at once because of `max_connections`.
    pub refused: usize,
}

impl Counts {
    pub(crate) fn snapshot(&self) -> ConnectionCounts {
        ConnectionCounts {
            current: self.current.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// A connection came: its number.
    pub(crate) fn enter(&self) -> i64 {
        let current = self.current.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(current, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A connection went.
    pub(crate) fn leave(&self) {
        self.current.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn reset_peak(&self) {
        self.peak.store(self.current.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether there are `most` already; counts a connection that is therefore refused.
    pub(crate) fn refuses(&self, most: usize) -> bool {
        let full = self.current.load(Ordering::Relaxed) >= most;
        self.refused.fetch_add(usize::from(full), Ordering::Relaxed);
        full
    }
}
