use proptest::prelude::*;

use super::*;

fn tally(hosts: u64) -> Tally {
    Tally { hosts, weight: hosts }
}

/// A priority of 100 hosts, so many of them healthy, degraded and draining.
fn level(healthy: u64, degraded: u64, draining: u64) -> Census {
    Census { all: tally(100), healthy: tally(healthy), degraded: tally(degraded), draining: tally(draining) }
}

fn healthy(percents: &[u64]) -> Vec<Census> {
    percents.iter().map(|percent| level(*percent, 0, 0)).collect()
}

fn loads(levels: &[Census], settings: &Settings) -> Vec<u8> {
    standings(levels, settings).iter().map(|standing| standing.healthy_load).collect()
}

fn panics(levels: &[Census]) -> Vec<bool> {
    standings(levels, &Settings::default()).iter().map(|standing| standing.mode == Mode::Panic).collect()
}

/// Envoy, "Priority levels": the tables for two and three levels. Its last row, {25, 25, 20} to {36, 36, 28}, is the
/// documentation's rounding; the code, and so this, gives what is left to the first.
#[test]
fn load_overflows_as_envoy_documents_it() {
    let table: [(&[u64], &[u8]); 16] = [
        (&[100, 100], &[100, 0]),
        (&[72, 100], &[100, 0]),
        (&[71, 100], &[99, 1]),
        (&[50, 100], &[70, 30]),
        (&[25, 100], &[35, 65]),
        (&[0, 100], &[0, 100]),
        (&[72, 72], &[100, 0]),
        (&[71, 71], &[99, 1]),
        (&[50, 50], &[70, 30]),
        (&[100, 100, 100], &[100, 0, 0]),
        (&[72, 72, 100], &[100, 0, 0]),
        (&[71, 71, 100], &[99, 1, 0]),
        (&[50, 50, 100], &[70, 30, 0]),
        (&[25, 100, 100], &[35, 65, 0]),
        (&[25, 25, 100], &[35, 35, 30]),
        (&[25, 25, 20], &[37, 35, 28]),
    ];
    let settings = Settings { panic_threshold: 0, ..Settings::default() };
    for (health, expected) in table {
        assert_eq!(loads(&healthy(health), &settings), expected, "{health:?}");
    }
}

/// Envoy, "Degraded endpoints".
#[test]
fn degraded_hosts_take_what_healthy_ones_cannot() {
    let table =
        [((100, 0), (100, 0)), ((71, 0), (100, 0)), ((71, 29), (99, 1)), ((25, 65), (35, 65)), ((5, 0), (100, 0))];
    for ((healthy, degraded), expected) in table {
        let standing = standings(&[level(healthy, degraded, 0)], &Settings::default())[0];
        assert_eq!((standing.healthy_load, standing.degraded_load), expected, "{healthy} healthy, {degraded} degraded");
    }
}

/// The example in Envoy's `recalculatePerPriorityState`: availabilities of 10/20/10 and 20/10/0 percent.
#[test]
fn shortage_is_shared_in_proportion() {
    let settings = Settings { overprovisioning_factor: 100, panic_threshold: 0, ..Settings::default() };
    let found: Vec<_> = standings(&[level(10, 20, 0), level(20, 10, 0), level(10, 0, 0)], &settings)
        .iter()
        .map(|standing| (standing.healthy_load, standing.degraded_load))
        .collect();
    assert_eq!(found, [(16, 28), (28, 14), (14, 0)]);
}

/// Envoy, "Panic threshold".
#[test]
fn panic_waits_until_all_priorities_together_cannot_bear_the_load() {
    let table: [(&[u64], &[bool]); 7] = [
        (&[72, 100], &[false, false]),
        (&[0, 100], &[false, false]),
        (&[50, 60], &[false, false]),
        (&[25, 100], &[false, false]),
        (&[25, 25], &[true, true]),
        (&[5, 65], &[true, false]),
        (&[0, 0], &[true, true]),
    ];
    for (health, expected) in table {
        assert_eq!(panics(&healthy(health)), expected, "{health:?}");
    }
    assert_eq!(loads(&healthy(&[5, 65]), &Settings::default()), [8, 92], "7% of 98%, and what rounding leaves");
}

#[test]
fn in_total_panic_load_goes_by_the_number_of_hosts() {
    let mut small = level(10, 0, 0);
    small.all = tally(25);
    let levels = [small, level(10, 0, 0)];
    assert_eq!(loads(&levels, &Settings { overprovisioning_factor: 10, ..Settings::default() }), [20, 80]);
}

#[test]
fn a_threshold_of_zero_switches_panic_off() {
    let settings = Settings { panic_threshold: 0, ..Settings::default() };
    let standings = standings(&healthy(&[0, 0]), &settings);
    assert!(
        standings.iter().all(|standing| standing.healthy_load == 0 && standing.mode != Mode::Panic),
        "{standings:?}"
    );
}

#[test]
fn draining_hosts_are_missing_capacity_but_no_reason_to_panic() {
    assert_eq!(loads(&[level(20, 0, 80), level(100, 0, 0)], &Settings::default()), [28, 72]);
    assert_eq!(panics(&[level(20, 0, 80)]), [false]);
    assert_eq!(panics(&[level(20, 0, 30)]), [true], "20 of 70");
}

#[test]
fn the_last_healthy_host_of_many_serves_with_panic_switched_off() {
    let mut crowd = level(1, 0, 0);
    crowd.all = tally(1000);
    assert_eq!(loads(&[crowd], &Settings { panic_threshold: 0, ..Settings::default() }), [100]);
}

#[test]
fn draining_hosts_serve_when_there_are_no_others() {
    let settings = Settings { panic_threshold: 0, ..Settings::default() };
    let standings = standings(&[level(0, 0, 0), level(0, 0, 10)], &settings);
    assert_eq!((standings[1].healthy_load, standings[1].mode), (100, Mode::Draining));
}

#[test]
fn availability_may_go_by_weight() {
    let mut heavy = level(10, 0, 0);
    (heavy.all.weight, heavy.healthy.weight) = (1000, 910);
    let by = |availability| loads(&[heavy, level(100, 0, 0)], &Settings { availability, ..Settings::default() });
    assert_eq!((by(Availability::Count), by(Availability::Weight)), (vec![14, 86], vec![100, 0]));
}

prop_compose! {
    fn any_census()(numbers in prop::array::uniform4(0_u64..1000), heavy in any::<u32>()) -> Census {
        let part = |hosts: u64| Tally { hosts, weight: hosts * u64::from(heavy) };
        let [healthy, degraded, draining, unhealthy] = numbers;
        let all = part(healthy + degraded + draining + unhealthy);
        Census { all, healthy: part(healthy), degraded: part(degraded), draining: part(draining) }
    }
}

proptest! {
    #[test]
    fn loads_add_up_to_100_or_nothing(
        levels in prop::collection::vec(any_census(), 0..8), overprovisioning_factor: u32, panic_threshold: u32,
    ) {
        let settings = Settings { overprovisioning_factor, panic_threshold, ..Settings::default() };
        let standings = standings(&levels, &settings);
        let load = |level: &Standing| u32::from(level.healthy_load) + u32::from(level.degraded_load);
        let sum: u32 = standings.iter().map(load).sum();
        prop_assert!(sum == 100 || sum == 0, "{standings:?}");
        if levels.iter().any(|level| level.healthy.hosts + level.degraded.hosts + level.draining.hosts > 0) {
            prop_assert_eq!(sum, 100);
        }
    }
}
