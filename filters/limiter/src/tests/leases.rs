//! How many at the same time.

use proptest::prelude::*;

use super::{SECOND, Single, THEN, at};
use crate::{Leases, Meter};

const EXPIRY: u64 = 10 * SECOND;

fn leases(limit: u64) -> Meter {
    Meter::Leases(Leases { limit, expiry: EXPIRY })
}

proptest! {
    /// While everybody gives back in time, it counts exactly.
    #[test]
    fn it_counts_those_that_are_there(limit in 1..6_u64, steps in prop::collection::vec((0..4 * SECOND, any::<bool>()), 1..200)) {
        let mut single = Single::new(leases(limit));
        let (mut now, mut held) = (THEN, Vec::<(u64, u64)>::new());
        for (step, takes) in steps {
            now += step;
            // Those that are about to be too old give back first.
            while let Some((_, lease)) = held.first().filter(|(since, _)| now - since >= EXPIRY).copied() {
                held.remove(0);
                single.state = single.meter.give(single.state, 1, lease, at(now - step));
            }
            if takes {
                let reading = single.take(1, now);
                prop_assert_eq!(reading.passes, (held.len() as u64) < limit);
                if reading.passes {
                    held.push((now, reading.lease));
                }
            } else if !held.is_empty() {
                let (_, lease) = held.remove(held.len() / 2);
                single.state = single.meter.give(single.state, 1, lease, at(now));
            }
            prop_assert_eq!(single.meter.take(single.state, 0, at(now)).0.remaining, limit - held.len() as u64);
        }
    }

    #[test]
    fn what_was_lost_comes_back_between_one_and_two_times(offset in 0..EXPIRY) {
        let mut single = Single::new(leases(1));
        let begin = THEN + offset;
        prop_assert!(single.take(1, begin).passes);
        prop_assert!(!single.take(1, begin + EXPIRY - 1).passes);
        prop_assert!(single.take(1, begin + 2 * EXPIRY).passes);
    }

    #[test]
    fn a_clock_that_jumps_neither_loses_nor_doubles(jump in -3600_i64..0) {
        let mut single = Single::new(leases(2));
        let lease = single.take(1, THEN).lease;
        let now = THEN.checked_add_signed(jump * 1_000_000_000).unwrap();
        prop_assert_eq!(single.take(1, now).remaining, 0);
        prop_assert!(!single.take(1, now).passes);
        single.state = single.meter.give(single.state, 1, lease, at(now));
        prop_assert!(single.take(1, now).passes);
        // And nobody has to wait for the time that the clock once showed.
        prop_assert!(single.take(2, now + 2 * EXPIRY).passes);
    }
}

#[test]
fn giving_back_late_takes_nothing_from_others() {
    let mut single = Single::new(leases(2));
    let old = single.take(1, THEN).lease;
    let now = THEN + 3 * EXPIRY;
    assert!(single.take(2, now).passes);
    single.state = single.meter.give(single.state, 1, old, at(now));
    assert!(!single.take(1, now).passes);
    assert_eq!(single.take(3, now).retry_after, u64::MAX);
}
