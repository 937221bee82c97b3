//! When a host is heard of next. Pure.

use std::time::Duration;

/// The first wait after a failure, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How far apart the heartbeats of one host are. `random` is 0 to 1, drawn anew each time.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    failures: u32,
}

impl Pace {
    /// A heartbeat was taken, and the host stays for `ttl` after it: how long until the next.
    pub fn taken(&mut self, ttl: Duration, random: f64) -> Duration {
        self.failures = 0;
        until_next(ttl, random)
    }

    /// It was not: how long until it is tried again.
    pub fn failed(&mut self, random: f64) -> Duration {
        let wait = backoff(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Whether the last one was not taken.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.failures > 0
    }

    /// The first wait after a failure, at most.
    #[must_use]
    pub const fn first_wait() -> Duration {
        BACKOFF.0
    }
}

/// Between 80% and 100% of a third.
fn until_next(ttl: Duration, random: f64) -> Duration {
    (ttl / 3).mul_f64(1.0 - 0.2 * random.clamp(0.0, 1.0))
}

/// Between half and all of a wait that doubles.
fn backoff(failures: u32, random: f64) -> Duration {
    let (first, longest) = BACKOFF;
    let wait = first.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(longest);
    wait.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_heartbeat_that_is_taken_ends_a_row_of_failures() {
        let mut pace = Pace::default();
        assert_eq!([pace.failed(1.0), pace.failed(1.0)], [Duration::from_secs(1), Duration::from_secs(2)]);
        assert!(pace.fails());
        assert_eq!(pace.taken(Duration::from_secs(30), 0.0), Duration::from_secs(10));
        assert!(!pace.fails());
        assert_eq!(pace.failed(1.0), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn two_heartbeats_in_a_row_may_be_lost(ttl in 1_u64..86_400, random in 0.0..1.0) {
            let ttl = Duration::from_secs(ttl);
            let pause = until_next(ttl, random);
            prop_assert!(pause * 3 <= ttl && pause * 4 >= ttl);
        }

        #[test]
        fn backoff_rises_to_its_longest(failures: u32, random in 0.0..1.0) {
            let pause = backoff(failures, random);
            prop_assert!(pause >= Duration::from_millis(500) && pause <= Duration::from_secs(30));
            prop_assert!(backoff(failures.saturating_add(1), random) >= pause);
        }
    }
}
