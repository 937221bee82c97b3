//! What a table of pins is made with, and what it answers.

use std::time::Duration;

/// Storage of pins, shared between workers. Keys have at most 600 bytes, values at most 300.
pub trait Pins {
    /// The value of a key.
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>>;
    /// Sets a value. The store may forget it after `expires` (milliseconds of the caller's clock); it need not.
    fn put(&mut self, key: &[u8], value: &[u8], expires: u64);
    /// Removes a key, if it is there.
    fn remove(&mut self, key: &[u8]);
}

/// Bounds of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinLimits {
    /// For how long a cursor stays pinned at least without being used. Servers drop idle cursors after 10 minutes, and
    /// sessions with their cursors after 30. Default 30 minutes.
    pub cursor_idle: Duration,
    /// The same for a transaction, whose commit may be retried. Servers abort one after 60 seconds unless configured
    /// otherwise. Default 5 minutes.
    pub transaction_idle: Duration,
    /// Most pins that a table (a worker) keeps; the one that expires first makes room. Default 100,000, at about 200
    /// bytes each.
    pub capacity: usize,
}

impl Default for PinLimits {
    fn default() -> Self {
        Self {
            cursor_idle: Duration::from_secs(30 * 60),
            transaction_idle: Duration::from_secs(5 * 60),
            capacity: 100_000,
        }
    }
}

/// Events of a table since it was made; they only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PinCounts {
    /// Cursors pinned.
    pub cursors: u64,
    /// Transactions pinned.
    pub transactions: u64,
    /// Pins that made room for others: raise the capacity.
    pub evicted: u64,
    /// Pins that nobody used for too long.
    pub expired: u64,
    /// Operations on a cursor or transaction that is not pinned.
    pub missing: u64,
    /// Cursors and sessions that were not pinned because their names are longer than any real one.
    pub oversized: u64,
}

/// Why an operation is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinReason {
    /// By a cursor.
    Cursor,
    /// By a transaction.
    Transaction,
}

/// Where an operation must go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Wherever its read preference says.
    Free,
    /// To this server.
    Pinned {
        /// Address of the server.
        server: String,
        /// Why.
        reason: PinReason,
        /// A cursor that waits for news.
        long_lived: bool,
    },
}
