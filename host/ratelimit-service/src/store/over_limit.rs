//! What is known to be over its limit: until its window ends, the store need not be asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Charge, Count};
use crate::rules::Algorithm;
use crate::settings::OverLimitHits;

const SHARDS: usize = 16;

/// Counters that are over their limit.
#[derive(Debug)]
pub(super) struct OverLimit {
    shards: [Mutex<HashMap<String, Known>>; SHARDS],
    /// Of each shard.
    most: usize,
    hits: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// By the steady clock, in nanoseconds.
    until: u64,
    /// What the counter was. A limit that was raised since may not be reached by it.
    count: u64,
}

impl OverLimit {
    /// Of at most so many counters; of none it never knows anything.
    pub fn new(most: usize) -> Self {
        Self { shards: Default::default(), most: most.div_ceil(SHARDS), hits: AtomicU64::new(0) }
    }

    /// What is known of a charge, at a moment of the steady clock.
    pub fn get(&self, charge: &Charge, now: u64) -> Option<Count> {
        if self.most == 0 {
            return None;
        }
        let shard = self.shard(&charge.key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *shard.get(&charge.key)?;
        drop(shard);
        let after = known.count.saturating_add(charge.hits);
        if known.until <= now || after <= charge.measure.capacity() {
            return None;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        let reset = Duration::from_nanos(known.until - now);
        Some(Count { before: known.count, after, over: true, reset, cached: true })
    }

    /// Learns from a count that was asked for at a moment of the steady clock: not when it was answered, lest it be known for longer than
    /// it is true.
    pub fn learn(&self, charge: &Charge, count: &Count, over_limit_hits: OverLimitHits, asked: u64) {
        let counter = match over_limit_hits {
            OverLimitHits::Count => count.after,
            OverLimitHits::Ignore => count.before,
        };
        // What GCRA refuses may pass a moment later. What has room left may have room for fewer hits.
        let worth =
            charge.measure.algorithm == Algorithm::FixedWindow && count.over && counter >= charge.measure.capacity();
        if self.most == 0 || !worth {
            return;
        }
        let until = asked.saturating_add(u64::try_from(count.reset.as_nanos()).unwrap_or(u64::MAX));
        let Some(shard) = self.shard(&charge.key) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.most && !shard.contains_key(&charge.key) {
            shard.retain(|_, known| known.until > asked);
            if shard.len() >= self.most {
                return;
            }
        }
        shard.insert(charge.key.clone(), Known { until, count: counter });
    }

    /// Forgets what is over.
    pub fn sweep(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, known| known.until > now);
            shard.shrink_to_fit();
        }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// How often that has spared a question.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    fn shard(&self, key: &str) -> Option<&Mutex<HashMap<String, Known>>> {
        // Keys end with what differs least; all of it is looked at, cheaply.
        let hash = key.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.shards.get(hash % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Unit;
    use crate::rules::Measure;

    fn charge(key: &str, requests_per_unit: u32, hits: u64) -> Charge {
        let measure = Measure { requests_per_unit, unit: Unit::Minute, algorithm: Algorithm::FixedWindow };
        Charge { key: key.to_owned(), measure, hits }
    }

    fn over(before: u64, after: u64) -> Count {
        Count { before, after, over: true, reset: Duration::from_nanos(100), cached: false }
    }

    #[test]
    fn what_is_over_stays_over_until_the_window_ends_or_the_limit_is_raised() {
        let cache = OverLimit::new(100);
        cache.learn(&charge("k", 10, 1), &over(10, 11), OverLimitHits::Count, 1_000);
        assert!(cache.get(&charge("k", 10, 1), 1_099).is_some_and(|count| count.over && count.cached));
        assert_eq!(cache.get(&charge("k", 10, 1), 1_100), None, "the window is over");
        assert_eq!(cache.get(&charge("k", 20, 1), 1_050), None, "the limit was raised");
        assert_eq!(cache.get(&charge("other", 10, 1), 1_050), None);
        assert_eq!((cache.len(), cache.hits()), (1, 1));
        cache.sweep(1_100);
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn what_was_not_counted_leaves_room_for_fewer_hits() {
        let cache = OverLimit::new(100);
        cache.learn(&charge("k", 10, 5), &over(8, 13), OverLimitHits::Ignore, 0);
        assert_eq!(cache.get(&charge("k", 10, 1), 50), None, "two more hits fit");
        cache.learn(&charge("k", 10, 5), &over(10, 15), OverLimitHits::Ignore, 0);
        assert!(cache.get(&charge("k", 10, 1), 50).is_some());
        assert_eq!(cache.get(&charge("k", 10, 0), 50), None, "looking is not over");
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let cache = OverLimit::new(32);
        for number in 0..1_000 {
            cache.learn(&charge(&number.to_string(), 10, 1), &over(10, 11), OverLimitHits::Count, 0);
        }
        assert!(cache.len() <= 32);
        let none = OverLimit::new(0);
        none.learn(&charge("k", 10, 1), &over(10, 11), OverLimitHits::Count, 0);
        assert_eq!(none.get(&charge("k", 10, 1), 0), None);
    }
}
