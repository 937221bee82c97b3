//! Limits that filters share: `fyke.shared.take.v1`. A table with a clock; what is in it, and the bytes of the call, are `fyke-limiter`'s.
//!
//! The clock begins with the process's table and is the same for all workers, which guests' monotonic clocks are not: those begin with each
//! worker's generation. Calendars go by the wall clock, and both are moved by tests.

use std::time::SystemTime;

use fyke_limiter::{Now, Table, TableStats, WireError, answer};
use tokio::time::Instant;

use crate::clock;

/// Bytes of a scope's table when it is full: 3.6 million states.
const MOST: usize = 150_000_000;

/// The limits of one scope.
#[derive(Debug)]
pub struct Limits {
    table: Table,
    begun: Instant,
}

impl Default for Limits {
    fn default() -> Self {
        Self { table: Table::new(MOST), begun: Instant::now() }
    }
}

impl Limits {
    /// Answers a call: reads `arguments`, charges, and appends the outcome to `out`.
    ///
    /// # Errors
    /// When the arguments are malformed. Then nothing was charged.
    pub fn take(&self, arguments: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        answer(&self.table, arguments, || self.now(), out)
    }

    /// How full it is.
    #[must_use]
    pub fn stats(&self) -> TableStats {
        self.table.stats()
    }

    /// Forgets what does not matter any more, and gives memory back.
    pub fn sweep(&self) {
        self.table.sweep(self.now());
    }

    fn now(&self) -> Now {
        let steady = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { steady, wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use fyke_limiter::{Amount, Charge, Gcra, Meter, Operation, Outcome, Rate, encode, read_outcome};

    use super::*;

    fn take(limits: &Limits) -> bool {
        let rate = Rate::parse("2/h").unwrap_or_else(|error| panic!("{error}"));
        let meters = [Meter::Gcra(Gcra::new(rate, Amount::new(2).unwrap()))];
        let (mut arguments, mut out, mut outcome) = (Vec::new(), Vec::new(), Outcome::default());
        encode(Operation::Take, &[Charge { key: b"k", meters: &meters, cost: 1, lease: 0 }], &mut arguments);
        limits.take(&arguments, &mut out).unwrap();
        read_outcome(&out, &mut outcome).unwrap();
        outcome.admitted
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_used_up_and_comes_back() {
        let limits = Limits::default();
        assert_eq!([take(&limits), take(&limits), take(&limits)], [true, true, false]);
        tokio::time::advance(std::time::Duration::from_secs(1800)).await;
        assert_eq!([take(&limits), take(&limits)], [true, false]);
        assert_eq!(limits.stats().entries, 1);
        assert!(limits.take(b"nonsense", &mut Vec::new()).is_err());
    }
}
