use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cluster::balance::settings::{LeastRequest, PeakEwma, Selection, SlowStart};

#[test]
fn every_policy_honours_weights_within_two_percent() {
    let weights = [1, 2, 5, 10, 2];
    for policy in policies() {
        let plan = plan(&self::policy(policy), &weighted(&weights));
        let expected: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) / 20.0).collect();
        assert_near(&idle_shares(&plan, 400_000), &expected, 0.02);
    }
}

#[test]
fn every_policy_spreads_evenly_over_equal_hosts() {
    for policy in policies() {
        let plan = plan(&self::policy(policy), &hosts(10));
        assert_near(&idle_shares(&plan, 400_000), &[0.1; 10], 0.02);
    }
}

#[test]
fn weights_hold_among_those_left_when_one_is_not_usable() {
    for policy in policies() {
        let plan = plan(&self::policy(policy), &weighted(&[4, 3, 2, 1, 6]));
        let found = shares(&plan, 400_000, &Request::default(), &Fleet::idle(), &|host| host != 1);
        assert_near(&found, &[4.0 / 13.0, 0.0, 2.0 / 13.0, 1.0 / 13.0, 6.0 / 13.0], 0.03);
    }
}

#[test]
fn round_robin_takes_equal_hosts_in_order() {
    let plan = plan(&policy(Policy::RoundRobin), &hosts(4));
    let mut local = Local::new(3);
    let order: Vec<usize> =
        (0..12).map(|_| plan.pick(&Request::default(), &mut local, &Fleet::idle(), &all).unwrap()).collect();
    assert!(order.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 4), "{order:?}");
}

#[test]
fn round_robin_keeps_to_weights_when_plans_are_rebuilt_all_the_time() {
    for (picks, weights) in
        [(1, [1, 1, 1, 3]), (2, [1, 1, 1, 3]), (5, [1, 2, 2, 1]), (1, [1, 1, 1, 1]), (3, [1, 1, 1, 1])]
    {
        let mut local = Local::new(3);
        let mut hits = [0.0; 4];
        for _ in 0..20_000 {
            let plan = plan(&policy(Policy::RoundRobin), &weighted(&weights));
            for _ in 0..picks {
                let host = plan.pick(&Request::default(), &mut local, &Fleet::idle(), &all).unwrap();
                hits[host] += 1.0 / (20_000.0 * f64::from(picks));
            }
        }
        let sum = f64::from(weights.iter().sum::<u32>());
        assert_near(&hits, &weights.map(|weight| f64::from(weight) / sum), 0.05);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    /// Within two percent, or five times what chance alone scatters.
    #[test]
    fn any_weights_hold_under_every_policy(weights in prop::collection::vec(0_u32..50, 1..9)) {
        let counted: Vec<f64> = weights.iter().map(|weight| f64::from((*weight).max(1))).collect();
        let sum: f64 = counted.iter().sum();
        for policy in policies() {
            let plan = plan(&self::policy(policy), &weighted(&weights));
            for (share, weight) in idle_shares(&plan, 50_000).iter().zip(&counted) {
                let expected = weight / sum;
                let scatter = (expected * (1.0 - expected) / 50_000.0).sqrt();
                let tolerance = (expected * 0.02).max(scatter * 5.0);
                prop_assert!((share - expected).abs() <= tolerance, "{policy:?}: {share} for {expected}");
            }
        }
    }
}

#[test]
fn two_choices_take_the_less_busy_of_two() {
    let plan = plan(&policy(Policy::LeastRequest(LeastRequest::default())), &hosts(3));
    // The busiest loses every comparison, the idlest wins both of its pairs.
    assert_near(
        &shares(&plan, 100_000, &Request::default(), &Fleet::busy(&[9, 5, 1]), &all),
        &[0.0, 1.0 / 3.0, 2.0 / 3.0],
        0.02,
    );
}

#[test]
fn a_full_scan_takes_the_least_busy() {
    let settings = LeastRequest { selection: Selection::FullScan, bias: 1.0 };
    let plan = plan(&policy(Policy::LeastRequest(settings)), &weighted(&[1, 1, 4]));
    let found = shares(&plan, 1000, &Request::default(), &Fleet::busy(&[2, 1, 3]), &all);
    assert_near(&found, &[0.0, 0.0, 1.0], 0.0);
}

#[test]
fn a_bias_of_nothing_ignores_requests_in_flight() {
    for bias in [0.0, -1.0, f64::NAN] {
        let settings = LeastRequest { selection: Selection::Choices(2), bias };
        let plan = plan(&policy(Policy::LeastRequest(settings)), &weighted(&[3, 1]));
        let found = shares(&plan, 200_000, &Request::default(), &Fleet::busy(&[1000, 0]), &all);
        assert_near(&found, &[0.75, 0.25], 0.02);
    }
}

#[test]
fn requests_in_flight_settle_by_weight_under_load() {
    let weights = [1, 2, 4, 8];
    let plan = plan(&policy(Policy::LeastRequest(LeastRequest::default())), &weighted(&weights));
    let (fleet, mut local) = (Fleet::busy(&[0; 4]), Local::new(1));
    let mut random = fastrand::Rng::with_seed(2);
    let mut flying: Vec<usize> = Vec::new();
    for _ in 0..50_000 {
        if flying.len() >= 1500 {
            let done = flying.swap_remove(random.usize(..flying.len()));
            fleet.active.borrow_mut()[done] -= 1;
        }
        let host = plan.pick(&Request::default(), &mut local, &fleet, &all).unwrap();
        fleet.active.borrow_mut()[host] += 1;
        flying.push(host);
    }
    let found: Vec<f64> = fleet.active.borrow().iter().map(|active| f64::from(*active) / 1500.0).collect();
    assert_near(&found, &[1.0 / 15.0, 2.0 / 15.0, 4.0 / 15.0, 8.0 / 15.0], 0.05);
}

#[test]
fn peak_ewma_takes_the_faster_of_two() {
    let plan = plan(&policy(Policy::PeakEwma(PeakEwma::default())), &hosts(3));
    let found = shares(&plan, 100_000, &Request::default(), &Fleet::slow(&[90.0, 50.0, 10.0]), &all);
    assert_near(&found, &[0.0, 1.0 / 3.0, 2.0 / 3.0], 0.02);
}

#[test]
fn peak_ewma_multiplies_latency_by_requests_in_flight() {
    let plan = plan(&policy(Policy::PeakEwma(PeakEwma::default())), &hosts(2));
    let fleet = Fleet::slow(&[10.0, 25.0]);
    *fleet.active.borrow_mut() = vec![2, 0];
    assert_near(&shares(&plan, 100, &Request::default(), &fleet, &all), &[0.0, 1.0], 0.0);
    *fleet.active.borrow_mut() = vec![1, 0];
    assert_near(&shares(&plan, 100, &Request::default(), &fleet, &all), &[1.0, 0.0], 0.0);
}

#[test]
fn peak_ewma_waits_for_the_first_answer_of_a_new_host() {
    let plan = plan(&policy(Policy::PeakEwma(PeakEwma::default())), &hosts(2));
    let fleet = Fleet::slow(&[500.0]);
    assert_near(&shares(&plan, 100, &Request::default(), &fleet, &all), &[0.0, 1.0], 0.0);
    *fleet.active.borrow_mut() = vec![3, 1];
    assert_near(&shares(&plan, 100, &Request::default(), &fleet, &all), &[1.0, 0.0], 0.0);
}

#[test]
fn slow_start_scales_weights_under_round_robin_and_least_request() {
    let mut hosts = weighted(&[2, 1, 1]);
    hosts[0].healthy_since = Some(100_000);
    let slow_start = Some(SlowStart { window: Duration::from_mins(1), ..SlowStart::default() });
    let scan = LeastRequest { selection: Selection::FullScan, bias: 1.0 };
    for policy in [Policy::RoundRobin, Policy::LeastRequest(LeastRequest::default()), Policy::LeastRequest(scan)] {
        let plan = plan(&Settings { policy, slow_start, ..Settings::default() }, &hosts);
        for (now_ms, factor) in
            [(0, 0.1), (100_000, 0.1), (115_000, 0.25), (130_000, 0.5), (160_000, 1.0), (u64::MAX, 1.0)]
        {
            let found = shares(&plan, 300_000, &Request { now_ms, ..Request::default() }, &Fleet::idle(), &all);
            let sum = 2.0 * factor + 2.0;
            assert_near(&found, &[2.0 * factor / sum, 1.0 / sum, 1.0 / sum], 0.02);
        }
    }
}

#[test]
fn hosts_that_all_start_slowly_share_evenly() {
    let hosts: Vec<Host> = hosts(5).into_iter().map(|host| Host { healthy_since: Some(0), ..host }).collect();
    let slow_start = Some(SlowStart { window: Duration::from_mins(1), minimum_weight: 0, ..SlowStart::default() });
    for policy in [Policy::RoundRobin, Policy::LeastRequest(LeastRequest::default())] {
        let plan = plan(&Settings { policy, slow_start, ..Settings::default() }, &hosts);
        assert_near(&idle_shares(&plan, 100_000), &[0.2; 5], 0.03);
    }
}

#[test]
fn previous_hosts_are_avoided_while_there_are_others() {
    for policy in policies() {
        let plan = plan(&self::policy(policy), &hosts(3));
        for hash in 0..200 {
            let mut local = Local::new(hash);
            let request = Request { hash: Some(hash << 40 | hash), avoid: &[0, 2], ..Request::default() };
            assert_eq!(plan.pick(&request, &mut local, &Fleet::idle(), &all), Ok(1), "{policy:?}");
            let request = Request { avoid: &[0, 1, 2], ..request };
            assert!(plan.pick(&request, &mut local, &Fleet::idle(), &all).is_ok());
        }
    }
}

#[test]
fn a_plan_is_small_and_shared() {
    fn shared<T: Send + Sync>(_: &T) {}
    for policy in [Policy::RoundRobin, Policy::default(), Policy::Random, Policy::PeakEwma(PeakEwma::default())] {
        let plan = plan(&self::policy(policy), &hosts(3));
        shared(&plan);
        assert!(plan.memory() + size_of::<Local>() < 1024, "{} bytes", plan.memory());
    }
}
