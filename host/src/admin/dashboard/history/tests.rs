use proptest::prelude::*;

use super::*;

const BOUNDS: [f64; 6] = [0.001, 0.002, 0.005, 0.01, 0.1, 1.0];
const START: u64 = 1_700_000_000_000;

fn reading<'a>(requests: u64, failures: u64, buckets: &'a [u64]) -> ServiceReading<'a> {
    ServiceReading { kind: ServiceKind::Cluster, name: "users", requests, failures, buckets }
}

fn buckets(values: &[f64]) -> Vec<u64> {
    let mut counts = vec![0; BOUNDS.len() + 1];
    for value in values {
        counts[BOUNDS.partition_point(|bound| bound < value)] += 1;
    }
    counts
}

/// The definition: the smallest value that at least this fraction of all does not exceed.
fn truth(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((quantile * sorted.len() as f64).ceil() as usize).max(1) - 1]
}

fn bucket_of(value: f64) -> usize {
    BOUNDS.partition_point(|bound| *bound < value)
}

#[test]
fn the_first_sample_is_where_counting_begins() {
    let mut history = History::new(&BOUNDS);
    history.sample(Time(START), &[reading(1_000_000, 5, &[9; 7])]);
    assert_eq!(history.last(ServiceKind::Cluster, "users", 60_000), Summary::default());
    assert_eq!(history.bytes(), 0, "a service without requests takes no room");
    history.sample(Time(START + 1_000), &[reading(1_000_010, 6, &[10, 9, 9, 9, 9, 9, 9])]);
    let now = history.now(ServiceKind::Cluster, "users");
    assert_eq!((now.requests, now.rate, now.success), (10, Some(10.0), Some(0.9)));
    assert_eq!(now.p50, Some(0.0005));
}

#[test]
fn what_appears_later_has_counted_everything_since() {
    let mut history = History::new(&BOUNDS);
    history.sample(Time(START), &[]);
    history.sample(Time(START + 2_000), &[reading(8, 0, &[8])]);
    let now = history.now(ServiceKind::Cluster, "users");
    assert_eq!((now.requests, now.rate), (8, Some(4.0)));
}

#[test]
fn a_counter_that_is_lower_than_before_has_begun_anew() {
    let mut history = History::new(&BOUNDS);
    history.sample(Time(START), &[reading(100, 10, &[100])]);
    history.sample(Time(START + 1_000), &[reading(7, 1, &[3, 4])]);
    let now = history.now(ServiceKind::Cluster, "users");
    assert_eq!((now.requests, now.success), (7, Some(6.0 / 7.0)));
    assert_eq!(now.p99.map(bucket_of), Some(1));
}

#[test]
fn a_gap_is_no_zero_and_does_not_falsify_the_rate() {
    let mut history = History::new(&BOUNDS);
    let start = START - START % STEP;
    history.sample(Time(start), &[reading(0, 0, &[])]);
    history.sample(Time(start + 1_000), &[reading(10, 0, &[10])]);
    // Nothing for 20 seconds, in which 200 requests came.
    history.sample(Time(start + 21_000), &[reading(210, 0, &[210])]);
    let trend = history.trend(ServiceKind::Cluster, "users", STEPS);
    assert_eq!(trend.rate[STEPS - 5..], [Some(10.0), None, None, None, Some(10.0)]);
    assert_eq!(trend.rate[STEPS - 6], None, "before the first sample");
    assert_eq!(history.last(ServiceKind::Cluster, "users", 60_000).rate, Some(10.0));
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let mut history = History::new(&BOUNDS);
    for second in 0..3_700_u64 {
        history.sample(Time(START + second * 1_000), &[reading(second * 3, 0, &[second * 3])]);
    }
    let hour = history.last(ServiceKind::Cluster, "users", u64::MAX);
    // The last step has just begun or is whole.
    assert!(hour.seconds > 3_594.0 && hour.seconds <= 3_600.0, "{}", hour.seconds);
    assert_eq!(hour.rate, Some(3.0));
    for points in [1, 7, 60, 120, 720, 9_999] {
        let trend = history.trend(ServiceKind::Cluster, "users", points);
        assert!(trend.rate.len() <= points.min(STEPS) && !trend.rate.is_empty());
        assert!(trend.rate.iter().all(|rate| *rate == Some(3.0)), "{points}");
        assert!(
            [&trend.failures, &trend.p50, &trend.p90, &trend.p99].iter().all(|list| list.len() == trend.rate.len())
        );
    }
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let mut history = History::new(&BOUNDS);
    history.sample(Time(START), &[reading(0, 0, &[])]);
    history.sample(Time(START + 1_000), &[reading(5, 0, &[5])]);
    history.sample(Time(START + 1_000), &[reading(50, 0, &[50])]);
    history.sample(Time(START - 90_000), &[reading(60, 0, &[60])]);
    assert_eq!(history.now(ServiceKind::Cluster, "users").requests, 5);
}

#[test]
fn services_beyond_the_room_are_counted_and_get_it_when_others_have_gone() {
    let mut history = History::with_room(&BOUNDS, 2);
    let named =
        |name, requests| ServiceReading { kind: ServiceKind::Listener, name, requests, failures: 0, buckets: &[] };
    history.sample(Time(START), &[named("a", 0), named("b", 0), named("c", 0), named("d", 0)]);
    assert_eq!(history.left_out(), 2);
    history.sample(Time(START + 1_000), &[named("a", 1), named("c", 500)]);
    assert_eq!(history.left_out(), 1);
    let later = START + STEP * STEPS as u64 + 2_000;
    history.sample(Time(later), &[named("c", 700)]);
    assert_eq!(history.left_out(), 0);
    // Nobody knows how long it took for what it had counted before.
    assert_eq!(history.now(ServiceKind::Listener, "c").requests, 0);
    history.sample(Time(later + 1_000), &[named("c", 703)]);
    assert_eq!(history.now(ServiceKind::Listener, "c").requests, 3);
}

#[test]
fn all_services_of_a_kind_are_read_as_one() {
    let mut history = History::new(&BOUNDS);
    let named = |kind, name, requests, buckets| ServiceReading { kind, name, requests, failures: 0, buckets };
    history.sample(Time(START), &[]);
    history.sample(
        Time(START + 1_000),
        &[
            named(ServiceKind::Listener, "a", 10, &[10, 0]),
            named(ServiceKind::Listener, "b", 30, &[0, 30]),
            named(ServiceKind::Cluster, "c", 99, &[99]),
        ],
    );
    let all = history.now_of_all(ServiceKind::Listener);
    assert_eq!((all.requests, all.rate), (40, Some(40.0)));
    assert_eq!(all.p50.map(bucket_of), Some(1));
}

#[test]
fn memory_is_what_the_documentation_says() {
    let bounds: Vec<f64> = (1..=71).map(f64::from).collect();
    let mut history = History::new(&bounds);
    let names: Vec<String> = (0..SERVICES + 10).map(|number| number.to_string()).collect();
    let readings = |requests| -> Vec<_> {
        names
            .iter()
            .map(|name| ServiceReading { kind: ServiceKind::Cluster, name, requests, failures: 0, buckets: &[] })
            .collect()
    };
    history.sample(Time(START), &readings(0));
    history.sample(Time(START + 1_000), &readings(1));
    assert_eq!(history.left_out(), 10);
    assert_eq!(history.bytes() / SERVICES / 1024, 123);
    assert!(history.bytes() <= 31 << 20);
}

proptest! {
    #[test]
    fn a_quantile_lies_in_the_bucket_of_the_true_one(
        seconds in prop::collection::vec(prop::collection::vec(0.0_f64..0.99, 0..40), 1..40),
        quantile in prop::sample::select(vec![0.5, 0.9, 0.99]),
    ) {
        let mut history = History::new(&BOUNDS);
        history.sample(Time(START), &[reading(0, 0, &[])]);
        let mut all = Vec::new();
        for (second, values) in seconds.iter().enumerate() {
            all.extend_from_slice(values);
            let counts = buckets(&all);
            history.sample(Time(START + 1_000 * (second as u64 + 1)), &[reading(all.len() as u64, 0, &counts)]);
        }
        let hour = history.last(ServiceKind::Cluster, "users", u64::MAX);
        prop_assert_eq!(hour.requests, all.len() as u64);
        let estimate = match quantile { 0.5 => hour.p50, 0.9 => hour.p90, _ => hour.p99 };
        if all.is_empty() {
            prop_assert_eq!(estimate, None);
        } else {
            prop_assert_eq!(estimate.map(bucket_of), Some(bucket_of(truth(&all, quantile))));
        }
    }

    #[test]
    fn counts_too_large_for_a_step_keep_their_proportions(large in 1_u64..u64::from(u32::MAX), parts in 1_u64..1000) {
        let mut history = History::new(&BOUNDS);
        history.sample(Time(START), &[]);
        let small = large / parts;
        history.sample(Time(START + 1_000), &[reading(large + small, 0, &[large, 0, 0, 0, small])]);
        history.sample(Time(START + 2_000), &[reading(2 * (large + small), 0, &[2 * large, 0, 0, 0, 2 * small])]);
        let ring = history.one(ServiceKind::Cluster, "users");
        let mut sum = Step::empty(BOUNDS.len() + 1);
        for place in START / STEP..=(START + 2_000) / STEP {
            ring[0].add_to(place, &mut sum);
        }
        let summary = sum.summary(&BOUNDS);
        prop_assert_eq!(summary.requests, 2 * (large + small));
        // p99 is in the small part exactly when that is more than a hundredth, give or take what was cut off.
        let share = small as f64 / (large + small) as f64;
        if (share - 0.01).abs() > 0.000_1 {
            prop_assert_eq!(summary.p99.map(bucket_of), Some(if share > 0.01 { 4 } else { 0 }));
        }
    }

    #[test]
    fn any_order_of_samples_is_survived(
        samples in prop::collection::vec((0_u64..10_000_000, any::<u64>(), any::<u64>(), prop::collection::vec(any::<u32>(), 0..12)), 0..60),
    ) {
        let mut history = History::with_room(&BOUNDS, 3);
        for (at, requests, failures, counts) in &samples {
            let counts: Vec<u64> = counts.iter().map(|count| u64::from(*count)).collect();
            history.sample(Time(*at), &[reading(*requests, *failures, &counts)]);
            let trend = history.trend(ServiceKind::Cluster, "users", 60);
            prop_assert!(trend.rate.iter().flatten().all(|rate| rate.is_finite() && *rate >= 0.0));
            let hour = history.last(ServiceKind::Cluster, "users", u64::MAX);
            prop_assert!(hour.success.is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
    }
}
