//! Quotas by the calendar.

use proptest::prelude::*;

use super::{SECOND, Single, THEN, at, quota};

const MINUTE: u64 = 60 * SECOND;

proptest! {
    #[test]
    fn each_minute_has_its_own(limit in 1..20_u64, steps in prop::collection::vec((0..MINUTE, 1..3_u64), 1..200)) {
        let mut single = Single::new(quota(&format!("{limit}/m")));
        let (mut now, mut counted) = (THEN, std::collections::HashMap::<u64, u64>::new());
        for (step, cost) in steps {
            now += step / 3;
            let used = counted.entry(now / MINUTE).or_default();
            let reading = single.take(cost, now);
            prop_assert_eq!(reading.passes, *used + cost <= limit);
            *used += if reading.passes { cost } else { 0 };
            prop_assert_eq!(reading.remaining, limit - *used);
            prop_assert_eq!(reading.reset, MINUTE - now % MINUTE);
        }
    }

    /// A clock that wobbles about the end of a minute opens no minute twice.
    #[test]
    fn a_clock_that_is_set_back_a_little_opens_no_window_twice(wobbles in prop::collection::vec(0..MINUTE, 1..100)) {
        let mut single = Single::new(quota("5/m"));
        let begin = THEN / MINUTE * MINUTE + MINUTE / 2;
        let admitted = wobbles.iter().filter(|wobble| single.take(1, begin + *wobble).passes).count();
        // Two minutes of the calendar are touched.
        prop_assert!(admitted <= 10);
    }
}

#[test]
fn days_end_at_midnight_in_utc() {
    // 1700000000 is 22:13:20.
    let mut single = Single::new(quota("1/d"));
    let left = (3600 + 46 * 60 + 40) * SECOND;
    assert_eq!(single.take(1, THEN).reset, left);
    assert_eq!(single.take(1, THEN + left - 1).retry_after, 1);
    assert!(single.take(1, THEN + left).passes);
}

#[test]
fn a_clock_that_was_far_ahead_is_forgotten() {
    let mut single = Single::new(quota("1/h"));
    assert!(single.take(1, THEN + 10_000 * 3600 * SECOND).passes);
    assert!(single.take(1, THEN).passes);
    assert!(!single.take(1, THEN).passes);
}

#[test]
fn what_is_charged_and_given_back_counts() {
    let meter = quota("10/h");
    let mut single = Single::new(meter);
    single.state = meter.charge(single.state, 25, at(THEN));
    assert!(!single.take(1, THEN).passes);
    single.state = meter.give(single.state, 20, 0, at(THEN));
    assert_eq!(single.take(1, THEN).remaining, 4);
    assert_eq!(single.take(11, THEN).retry_after, u64::MAX);
}
