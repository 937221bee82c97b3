//! How long to wait before another attempt.

use std::time::Duration;

use super::policy::Backoff;

/// The wait before attempt `attempt` (1: the first retry), with full jitter as in Envoy: anything from nothing to
/// `base * (2^attempt - 1)`, and never more than `max`.
#[must_use]
pub fn wait(backoff: &Backoff, attempt: u32, mut random: impl FnMut(u64) -> u64) -> Duration {
    let most = backoff.max_ms.unwrap_or(backoff.base_ms.saturating_mul(10));
    let factor = 1u64.checked_shl(attempt).map_or(u64::MAX, |power| power.saturating_sub(1));
    let range = backoff.base_ms.saturating_mul(factor).min(most);
    Duration::from_millis(if range == 0 { 0 } else { random(range) })
}

/// A wait that an answer asked for, up to half longer, so that not all who were told the same come back at once.
#[must_use]
pub fn spread(asked: Duration, mut random: impl FnMut(u64) -> u64) -> Duration {
    let half = u64::try_from(asked.as_millis() / 2).unwrap_or(u64::MAX);
    asked.saturating_add(Duration::from_millis(if half == 0 { 0 } else { random(half) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_range_doubles_up_to_the_maximum() {
        let backoff = Backoff { base_ms: 25, max_ms: None };
        let most = |attempt| wait(&backoff, attempt, |range| range);
        let expected = [25, 75, 175, 250, 250].map(Duration::from_millis);
        assert_eq!([most(1), most(2), most(3), most(4), most(70)], expected);
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_its_bounds(base in any::<u64>(), max in any::<Option<u64>>(), attempt in any::<u32>(), seed in any::<u64>()) {
            let backoff = Backoff { base_ms: base, max_ms: max };
            let mut random = fastrand::Rng::with_seed(seed);
            let waited = wait(&backoff, attempt, |range| random.u64(..range));
            prop_assert!(waited <= Duration::from_millis(max.unwrap_or(base.saturating_mul(10))));
        }

        #[test]
        fn what_is_asked_for_is_waited_for(asked in 0u64..1 << 40, seed in any::<u64>()) {
            let asked = Duration::from_millis(asked);
            let mut random = fastrand::Rng::with_seed(seed);
            let waited = spread(asked, |range| random.u64(..range));
            prop_assert!(waited >= asked && waited <= asked + asked / 2);
        }
    }
}
