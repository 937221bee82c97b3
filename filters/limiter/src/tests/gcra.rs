//! Rates against a bucket of rational tokens.

use proptest::prelude::*;

use super::{SECOND, Single, THEN, gcra};
use crate::{Meter, Rate, Span};

/// The definition: a bucket of `burst` tokens, filled with `count` in every `period`. Tokens are counted in units of 1/period, so that nothing is
/// ever rounded.
struct Bucket {
    count: i128,
    period: i128,
    burst: i128,
    level: i128,
    last: u64,
}

impl Bucket {
    fn new(rate: &str, burst: u64, now: u64) -> Self {
        let rate = Rate::parse(rate).unwrap();
        let (count, period) = (i128::from(rate.amount.get()), i128::from(rate.per.nanoseconds()));
        Self { count, period, burst: i128::from(burst), level: i128::from(burst) * period, last: now }
    }

    fn take(&mut self, cost: u64, now: u64) -> bool {
        let filled = self.level + i128::from(now - self.last) * self.count;
        self.level = filled.min(self.burst * self.period);
        self.last = now;
        let price = i128::from(cost) * self.period;
        if self.level < price {
            return false;
        }
        self.level -= price;
        true
    }

    fn remaining(&self) -> u64 {
        u64::try_from(self.level / self.period).unwrap()
    }
}

const RATES: &[&str] =
    &["1/s", "3/s", "7/s", "10000/s", "9999/s", "5000/m", "999983/d", "1M/d", "1/d", "17/250ms", "1G/s"];

fn steps(most: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((prop_oneof![0..100_u64, 0..most, 0..most * 20], 1..4_u64), 1..400)
}

proptest! {
    #[test]
    fn it_decides_as_the_definition_does(rate in prop::sample::select(RATES), burst in 1..50_u64, steps in steps(200_000_000)) {
        let mut single = Single::new(Meter::Gcra(gcra(rate, burst)));
        let mut now = THEN;
        let mut bucket = Bucket::new(rate, burst, now);
        for (step, cost) in steps {
            now += step;
            let reading = single.take(cost, now);
            prop_assert_eq!(reading.passes, bucket.take(cost, now), "{} ns later", step);
            prop_assert_eq!(reading.remaining, bucket.remaining());
            prop_assert_eq!(reading.retry_after == u64::MAX, cost > burst);
        }
    }

    #[test]
    fn whoever_comes_back_when_told_passes_and_not_before(rate in prop::sample::select(RATES), burst in 1..20_u64, steps in steps(50_000_000)) {
        let mut single = Single::new(Meter::Gcra(gcra(rate, burst)));
        let mut now = THEN;
        for (step, cost) in steps {
            now += step;
            let cost = cost.min(burst);
            let reading = single.take(cost, now);
            if !reading.passes {
                prop_assert!(!single.take(cost, now + reading.retry_after - 1).passes);
                now += reading.retry_after;
                prop_assert!(single.take(cost, now).passes);
            }
        }
    }

    /// Forward is forward, whether time passed or the clock was set: what was let in never exceeds a burst and what the clock's way
    /// forward is worth. Backward earns nothing.
    #[test]
    fn a_clock_that_jumps_lets_nobody_in_twice(
        rate in prop::sample::select(RATES),
        burst in 1..20_u64,
        jumps in prop::collection::vec(-3_600_000_000_000_i64..3_600_000_000_000, 1..200),
        fine in prop::collection::vec(0..20_000_000_u64, 20),
    ) {
        let mut single = Single::new(Meter::Gcra(gcra(rate, burst)));
        let rate = Rate::parse(rate).unwrap();
        let (mut now, mut forward, mut admitted) = (THEN, 0_u128, 0_u128);
        for jump in jumps {
            let before = now;
            now = now.checked_add_signed(jump).unwrap();
            forward += u128::from(now.saturating_sub(before));
            for step in &fine {
                now += step;
                forward += u128::from(*step);
                admitted += u128::from(single.take(1, now).passes);
                let earned = forward * u128::from(rate.amount.get()) / u128::from(rate.per.nanoseconds());
                prop_assert!(admitted <= u128::from(burst) + earned);
            }
        }
    }

    #[test]
    fn a_clock_set_back_makes_nobody_wait_for_more_than_one_token(rate in prop::sample::select(RATES), burst in 1..20_u64, back in 0..THEN) {
        let mut single = Single::new(Meter::Gcra(gcra(rate, burst)));
        while single.take(1, THEN).passes {}
        let one = Rate::parse(rate).unwrap();
        let emission = one.per.nanoseconds().div_ceil(one.amount.get());
        let reading = single.take(1, THEN - back);
        prop_assert!(reading.passes || reading.retry_after <= emission);
        prop_assert!(single.take(1, THEN - back + emission).passes);
    }
}

#[test]
fn under_load_every_window_has_what_the_definition_says() {
    for rate in ["1/s", "7/s", "100/s", "997/s", "10000/s"] {
        let parsed = Rate::parse(rate).unwrap();
        let per_second = parsed.amount.get();
        // 50,000 offered each second, for 20 seconds, with bursts of one.
        let mut single = Single::new(Meter::Gcra(gcra(rate, 1)));
        let times: Vec<u64> =
            (0..1_000_000).map(|n| THEN + n * 20_000).filter(|now| single.take(1, *now).passes).collect();
        for window in [SECOND / 2, SECOND, 5 * SECOND, 19 * SECOND] {
            let expected = u128::from(window) * u128::from(per_second) / u128::from(SECOND);
            let mut end = 0;
            for (at, begin) in times.iter().enumerate().take_while(|(_, begin)| **begin + window < THEN + 20 * SECOND) {
                while end < times.len() && times[end] < begin + window {
                    end += 1;
                }
                let admitted = (end - at) as u128;
                // Offers come every 20 us: the definition itself is late by as much, each time.
                let late =
                    u128::from(!(SECOND.is_multiple_of(per_second) && (SECOND / per_second).is_multiple_of(20_000)))
                        * (expected * u128::from(per_second) * 20_000 / u128::from(SECOND) + 1);
                assert!(
                    admitted <= expected + 1 && admitted + 1 + late >= expected,
                    "{rate} {window}: {admitted} {expected}"
                );
            }
        }
    }
}

#[test]
fn odd_rates_do_not_drift() {
    let mut single = Single::new(Meter::Gcra(gcra("7/s", 1)));
    let mut now = THEN;
    let mut admitted = 0_u64;
    // Whoever comes as soon as told loses less than a nanosecond each time; the fraction gets it back.
    while now < THEN + 100_000 * SECOND {
        let reading = single.take(1, now);
        if reading.passes { admitted += 1 } else { now += reading.retry_after }
    }
    assert!(admitted.abs_diff(700_000) <= 1, "{admitted}");
}

#[test]
fn those_that_come_too_early_may_queue() {
    let meter = Meter::Gcra(gcra("10/s", 2).with_queue(Span::parse("250ms").unwrap().nanoseconds()));
    let mut single = Single::new(meter);
    let waits: Vec<(bool, u64)> =
        (0..6).map(|_| single.take(1, THEN)).map(|reading| (reading.passes, reading.wait)).collect();
    let hundred = SECOND / 10;
    assert_eq!(waits, [(true, 0), (true, 0), (true, hundred), (true, 2 * hundred), (false, 0), (false, 0)]);
    assert_eq!(single.take(1, THEN).retry_after, 50_000_000);
}

#[test]
fn what_is_charged_afterwards_is_owed_up_to_a_bound() {
    let meter = Meter::Gcra(gcra("10/s", 10).with_debt(20));
    let mut single = Single::new(meter);
    single.state = meter.charge(single.state, 25, super::at(THEN));
    assert_eq!(single.take(1, THEN).retry_after, 16 * SECOND / 10);
    single.state = meter.charge(single.state, 1_000_000, super::at(THEN));
    assert_eq!(single.take(1, THEN).retry_after, 21 * SECOND / 10);
    single.state = meter.give(single.state, 30, 0, super::at(THEN));
    assert_eq!(single.take(10, THEN).remaining, 0);
}

#[test]
fn the_largest_numbers_stay_within_their_bounds() {
    for (rate, burst) in
        [("1000000000000000/d", 1_000_000_000_000_000), ("1/366d", 1_000_000_000_000_000), ("1000000000000000/ms", 1)]
    {
        let mut single = Single::new(Meter::Gcra(gcra(rate, burst)));
        for cost in [1, u64::MAX, 0, 1 << 40] {
            let reading = single.take(cost, u64::MAX - 5);
            assert!(reading.remaining <= burst, "{rate}");
            assert!(cost <= burst || !reading.passes);
        }
    }
}
