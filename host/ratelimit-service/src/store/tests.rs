//! The embedded store against a reference model, in a time that the tests move.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fyke_limiter::Now;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::messages::Unit;
use crate::rules::Algorithm;

const SECOND: u64 = 1_000_000_000;

fn store() -> (Embedded, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(1_700_000_000 * SECOND));
    let clock = Arc::clone(&now);
    let clock = Clock::new(move || {
        let now = clock.load(Ordering::SeqCst);
        Now { steady: now, wall: now }
    });
    (Embedded::new(1 << 20, clock), now)
}

fn charge(key: &str, requests_per_unit: u32, unit: Unit, hits: u64) -> Charge {
    let measure = Measure { requests_per_unit, unit, algorithm: Algorithm::FixedWindow };
    Charge { key: format!("{key}|{}", unit.name()), measure, hits }
}

/// Counts by key and number of the window, and nothing else.
#[derive(Default)]
struct Model(HashMap<(String, u64), u64>);

impl Model {
    fn count(&mut self, charges: &[Charge], mode: OverLimitHits, now: u64) -> Vec<(u64, u64, bool)> {
        let before = self.0.clone();
        let mut counts = Vec::new();
        for charge in charges {
            let window = now / SECOND / charge.measure.unit.seconds().unwrap();
            let counter = self.0.entry((charge.key.clone(), window)).or_default();
            let count = (*counter, *counter + charge.hits);
            *counter = count.1;
            counts.push((count.0, count.1, count.1 > u64::from(charge.measure.requests_per_unit)));
        }
        if mode == OverLimitHits::Ignore && counts.iter().any(|(_, _, over)| *over) {
            self.0 = before;
        }
        counts
    }
}

fn charges() -> impl Strategy<Value = Vec<Charge>> {
    let one = (0..4_u8, prop::sample::select(&[Unit::Second, Unit::Minute, Unit::Day][..]), 0..4_u64);
    let one = one.prop_map(|(key, unit, hits)| charge(&format!("k{key}"), u32::from(key) * 3, unit, hits));
    prop::collection::vec(one, 1..5)
}

proptest! {
    #[test]
    fn hits_are_counted_as_the_model_counts_them(
        steps in prop::collection::vec((charges(), 0..40_u64), 1..60),
    ) {
        let (store, clock) = store();
        let mut model = Model::default();
        for (charges, seconds) in steps {
            let now = clock.fetch_add(seconds * SECOND / 10, Ordering::SeqCst) + seconds * SECOND / 10;
            let counts = store.count(&charges, OverLimitHits::Count);
            let found: Vec<_> = counts.iter().map(|count| (count.before, count.after, count.over)).collect();
            prop_assert_eq!(&found, &model.count(&charges, OverLimitHits::Count, now));
            for (charge, count) in charges.iter().zip(&counts) {
                let period = charge.measure.unit.seconds().unwrap() * SECOND;
                prop_assert_eq!(count.reset, Duration::from_nanos(period - now % period));
            }
        }
    }

    #[test]
    fn all_are_counted_or_none(
        steps in prop::collection::vec((charges(), 0..40_u64), 1..60),
    ) {
        let (store, clock) = store();
        let mut model = Model::default();
        for (charges, seconds) in steps {
            let now = clock.fetch_add(seconds * SECOND / 10, Ordering::SeqCst) + seconds * SECOND / 10;
            let expected = model.count(&charges, OverLimitHits::Ignore, now);
            let counts = store.count(&charges, OverLimitHits::Ignore);
            let over = |over: bool| if over { "over" } else { "within" };
            prop_assert_eq!(
                over(counts.iter().any(|count| count.over)),
                over(expected.iter().any(|(_, _, over)| *over))
            );
        }
    }
}

#[test]
fn gcra_lets_a_burst_pass_and_then_one_at_a_time() {
    let (store, clock) = store();
    let measure = Measure { requests_per_unit: 60, unit: Unit::Minute, algorithm: Algorithm::Gcra { burst: 3 } };
    let take = |hits| store.count(&[Charge { key: "k".to_owned(), measure, hits }], OverLimitHits::Count)[0];
    let seconds = |count: Count| count.reset.as_secs_f64();
    assert_eq!([take(1).over, take(1).over, take(1).over, take(1).over], [false, false, false, true]);
    let refused = take(2);
    assert_eq!((refused.before, refused.after, seconds(refused)), (3, 5, 2.0));
    assert_eq!(take(0), Count { before: 3, after: 3, over: false, reset: Duration::from_secs(3), cached: false });
    clock.fetch_add(SECOND, Ordering::SeqCst);
    assert_eq!([take(1).over, take(1).over], [false, true]);
    assert_eq!(take(4).reset, Duration::from_secs(60), "more than a burst never passes");
}

#[test]
fn a_key_that_is_there_twice_counts_twice() {
    let (store, _) = store();
    let one = charge("k", 2, Unit::Minute, 1);
    let counts =
        store.count(&[one.clone(), charge("other", 9, Unit::Minute, 5), one.clone(), one], OverLimitHits::Count);
    let found: Vec<_> = counts.iter().map(|count| (count.before, count.after, count.over)).collect();
    assert_eq!(found, [(0, 1, false), (0, 5, false), (1, 2, false), (2, 3, true)]);
}

#[test]
fn memory_is_bounded_whoever_comes() {
    let (store, _) = store();
    for number in 0..100_000 {
        let _ = store.count(&[charge(&number.to_string(), 5, Unit::Hour, 1)], OverLimitHits::Count);
    }
    let stats = store.stats();
    assert!(stats.bytes <= 2 << 20, "{stats:?}");
    assert!(stats.evicted > 0, "{stats:?}");
}
