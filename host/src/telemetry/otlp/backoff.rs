//! How long to wait before a request is sent again. Pure: time and randomness are arguments.
//!
//! Exponential with jitter, as the OTLP specification asks ("Retryable errors", "Throttling"): 1 s, doubled up to 30 s,
//! each times a factor between 0.5 and 1.5, so that proxies that lost their collector together do not return together.
//! A collector that says how long (`RetryInfo`, `Retry-After`) is given that time, at least. Altogether a request is
//! tried for [`TOTAL`].

use std::time::Duration;

/// How long a request is tried, from its first attempt to the beginning of its last.
pub const TOTAL: Duration = Duration::from_secs(64);
/// The longest time that a collector can ask for.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(10);
const FIRST: Duration = Duration::from_secs(1);
const CEILING: Duration = Duration::from_secs(30);

/// The waiting times of one request.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    total: Duration,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this time.
    After(Duration),
    /// It has been tried long enough.
    GiveUp,
}

impl Backoff {
    /// Tries for `total` altogether.
    #[must_use]
    pub fn new(total: Duration) -> Self {
        Self { next: FIRST, total }
    }

    /// An attempt has failed `elapsed` after the first began. `asked` is what the collector wants; `random` is uniform
    /// over all of `u32`.
    pub fn next(&mut self, elapsed: Duration, asked: Option<Duration>, random: u32) -> Next {
        let factor = 0.5 + f64::from(random) / f64::from(u32::MAX);
        let wait = self.next.mul_f64(factor).max(asked.unwrap_or_default().min(LONGEST_PAUSE));
        self.next = self.next.saturating_mul(2).min(CEILING);
        if elapsed.saturating_add(wait) > self.total { Next::GiveUp } else { Next::After(wait) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_doubles_up_to_its_ceiling() {
        let mut backoff = Backoff::new(Duration::MAX);
        let waits: Vec<_> = (0..7).map(|_| backoff.next(Duration::ZERO, None, u32::MAX / 2)).collect();
        let seconds = |wait: &Next| match wait {
            Next::After(wait) => wait.as_secs_f64().round(),
            Next::GiveUp => f64::NAN,
        };
        assert_eq!(waits.iter().map(seconds).collect::<Vec<_>>(), [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
    }

    #[test]
    fn the_collector_may_ask_for_more_but_not_for_ever() {
        let asked = Some(Duration::from_secs(40));
        assert_eq!(Backoff::new(TOTAL).next(Duration::ZERO, asked, 0), Next::After(Duration::from_secs(40)));
        assert_eq!(Backoff::new(TOTAL).next(Duration::from_secs(30), asked, 0), Next::GiveUp);
        assert_eq!(
            Backoff::new(Duration::MAX).next(Duration::ZERO, Some(Duration::MAX), 0),
            Next::After(LONGEST_PAUSE)
        );
    }

    proptest! {
        #[test]
        fn a_request_is_tried_for_the_total_time_and_a_bounded_number_of_times(
            randoms in proptest::collection::vec(any::<u32>(), 200),
        ) {
            let mut backoff = Backoff::new(TOTAL);
            let mut elapsed = Duration::ZERO;
            let mut attempts = 0;
            for random in randoms {
                attempts += 1;
                match backoff.next(elapsed, None, random) {
                    Next::After(wait) => {
                        prop_assert!(wait >= FIRST / 2 && wait <= CEILING * 3 / 2);
                        elapsed += wait;
                    }
                    Next::GiveUp => break,
                }
            }
            prop_assert!(elapsed <= TOTAL);
            prop_assert!((3..=9).contains(&attempts), "{attempts}");
        }
    }
}
