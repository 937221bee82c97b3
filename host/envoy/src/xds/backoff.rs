//! How long to wait before the next attempt: exponential, with full jitter, as Envoy's.

use std::time::Duration;

/// Waits that grow with every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    most: Duration,
    attempts: u32,
}

impl Default for Backoff {
    /// From 500 ms to 30 s, as Envoy's gRPC streams.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

impl Backoff {
    /// Of these bounds. A `base` of zero counts as a millisecond.
    #[must_use]
    pub fn new(base: Duration, most: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self { base, most: most.max(base), attempts: 0 }
    }

    /// The next wait; `random` is from 0 to 1. Never zero, so that an attempt that fails at once does not spin.
    pub fn next(&mut self, random: f64) -> Duration {
        let bound = self.base.saturating_mul(2_u32.saturating_pow(self.attempts.min(31))).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.5 };
        bound.mul_f64(random).clamp(Duration::from_millis(1), self.most)
    }

    /// It has worked: the next wait is the shortest again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(3));
        let waits: Vec<_> = (0..5).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 3000, 3000]);
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(250));
    }

    #[test]
    fn no_wait_is_nothing_or_without_end() {
        let mut backoff = Backoff::default();
        for random in [0.0, 1.0, f64::NAN, -1.0, f64::INFINITY].into_iter().cycle().take(200) {
            let wait = backoff.next(random);
            assert!(wait >= Duration::from_millis(1) && wait <= Duration::from_secs(30));
        }
    }
}
