//! Fleets whose hosts get traffic by weight and report what it does to them.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// One host's reports, in a row.
struct Host {
    base: Weight,
    state: Option<LoadState>,
    clock: SystemTime,
}

impl Host {
    fn new(base: u8) -> Self {
        Self { base: Weight::new(base).unwrap(), state: None, clock: UNIX_EPOCH + MINUTE }
    }

    fn weight(&self) -> u8 {
        self.state.map_or(self.base, LoadState::weight).number()
    }

    fn report(&mut self, cpu: f64) {
        self.clock += MINUTE;
        self.state = Some(LoadState::next(self.state, Load::new(cpu, 0.0), self.base, self.clock));
    }
}

/// Traffic over hosts of different capacities, by weight; reports come one by one or all at once.
struct Fleet {
    hosts: Vec<(Host, f64)>,
    traffic: f64,
    together: bool,
}

impl Fleet {
    fn new(capacities: &[f64], utilisation: f64, together: bool) -> Self {
        let traffic = capacities.iter().sum::<f64>() * utilisation;
        Self { hosts: capacities.iter().map(|capacity| (Host::new(100), *capacity)).collect(), traffic, together }
    }

    fn utilisations(&self) -> Vec<f64> {
        let all: f64 = self.hosts.iter().map(|(host, _)| f64::from(host.weight())).sum();
        let used = |(host, capacity): &(Host, f64)| self.traffic * f64::from(host.weight()) / all / capacity;
        self.hosts.iter().map(used).collect()
    }

    fn round(&mut self) -> Vec<u8> {
        let at_once = self.utilisations();
        #[allow(clippy::needless_range_loop, reason = "each sees what those before it have changed")]
        for index in 0..self.hosts.len() {
            let used = if self.together { at_once[index] } else { self.utilisations()[index] };
            self.hosts[index].0.report(used);
        }
        self.hosts.iter().map(|(host, _)| host.weight()).collect()
    }
}

/// How far apart the most and the least used are.
fn spread(utilisations: &[f64]) -> f64 {
    let most = utilisations.iter().copied().fold(0.0, f64::max);
    most - utilisations.iter().copied().fold(f64::MAX, f64::min)
}

proptest! {
    #[test]
    fn under_constant_load_a_weight_goes_to_its_place_from_one_side_and_stays(base in 1_u8..=100, cpu in 0.0..=1.0) {
        let mut host = Host::new(base);
        let weights: Vec<u8> = (0..60).map(|_| { host.report(cpu); host.weight() }).collect();
        prop_assert!(weights.windows(2).all(|pair| pair[1] <= pair[0]), "{:?}", weights);
        prop_assert!(weights[40..].iter().all(|weight| *weight == weights[40]), "{:?}", weights);
        let should = (f64::from(base) * 10_f64.powf(-cpu)).max(1.0);
        let off = (f64::from(weights[59]) - should).abs();
        prop_assert!(off <= (f64::from(base) * 0.03).max(0.6) + 1e-6, "{} for {}", weights[59], should);
    }

    #[test]
    fn a_step_is_bounded_whatever_is_reported(base in 1_u8..=100, reports in prop::collection::vec(0.0..=1.0, 1..50)) {
        let mut host = Host::new(base);
        let step = (f64::from(base) * 0.1).max(1.0).round();
        for cpu in reports {
            let before = host.weight();
            host.report(cpu);
            prop_assert!((1..=base).contains(&host.weight()));
            prop_assert!(f64::from(host.weight().abs_diff(before)) <= step);
        }
    }

    #[test]
    fn under_feedback_weights_settle_and_the_small_hosts_get_less(
        capacities in prop::collection::vec(0.3..3.0, 2..12),
        utilisation in 0.05..0.95,
        together: bool,
    ) {
        let mut fleet = Fleet::new(&capacities, utilisation, together);
        let before = spread(&fleet.utilisations());
        for _ in 0..120 {
            fleet.round();
        }
        let settled = fleet.round();
        for _ in 0..60 {
            // No oscillation: who moves at all does so by little.
            for (now, then) in fleet.round().iter().zip(&settled) {
                prop_assert!(now.abs_diff(*then) <= 10, "{} after {}", now, then);
            }
        }
        // Fairer than no weights at all, but for what the dead band leaves.
        let after = spread(&fleet.utilisations());
        prop_assert!(after <= before + 0.08, "{} then {}", before, after);
        if before > 0.3 && before < 1.0 {
            prop_assert!(after < before * 0.8, "{} then {}", before, after);
        }
    }

    #[test]
    fn a_skewed_fleet_settles_although_reports_lag(
        capacities in prop::collection::vec(0.3..3.0, 2..12),
        utilisation in 0.05..0.95,
        lag in 0_usize..=2,
    ) {
        let mut fleet = Fleet::new(&capacities, utilisation, true);
        let before = spread(&fleet.utilisations());
        // Readers have heard of weights some rounds ago, and hosts report what came of those.
        let mut past = VecDeque::from(vec![fleet.utilisations(); lag]);
        let mut rounds: Vec<Vec<u8>> = Vec::new();
        for _ in 0..180 {
            past.push_back(fleet.utilisations());
            let reported = past.pop_front().unwrap();
            for ((host, _), used) in fleet.hosts.iter_mut().zip(reported) {
                host.report(used);
            }
            rounds.push(fleet.hosts.iter().map(|(host, _)| host.weight()).collect());
        }
        let settled = &rounds[120..];
        for host in 0..capacities.len() {
            let weights: Vec<u8> = settled.iter().map(|round| round[host]).collect();
            let (least, most) = (weights.iter().min().unwrap(), weights.iter().max().unwrap());
            prop_assert!(most - least <= 8, "it swings: {:?}", weights);
            prop_assert!(weights.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 5), "{:?}", weights);
        }
        let after = spread(&fleet.utilisations());
        prop_assert!(after <= before + 0.08, "{} then {}", before, after);
    }

    #[test]
    fn noise_does_not_swing_weights(seed: u64, cpu in 0.1..0.9) {
        let mut host = Host::new(100);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..60 {
            host.report(cpu);
        }
        let rest = host.weight();
        for _ in 0..200 {
            host.report(cpu + (random.f64() - 0.5) * 0.1);
            prop_assert!(host.weight().abs_diff(rest) <= 9, "{} for {}", host.weight(), rest);
        }
    }
}

#[test]
fn a_host_that_recovers_gets_its_traffic_back() {
    let mut host = Host::new(100);
    for _ in 0..60 {
        host.report(1.0);
    }
    assert!((10..=13).contains(&host.weight()), "{}", host.weight());
    for _ in 0..60 {
        host.report(0.0);
    }
    assert!(host.weight() >= 97, "{}", host.weight());
}

#[test]
fn reports_within_a_second_count_once() {
    let base = Weight::MAX;
    let now = UNIX_EPOCH + MINUTE;
    let first = LoadState::next(None, Load::new(1.0, 0.0), base, now);
    assert_eq!(first.weight().number(), 90);
    assert_eq!(LoadState::next(Some(first), Load::new(1.0, 0.0), base, now + Duration::from_millis(900)), first);
    assert_eq!(LoadState::next(Some(first), Load::new(1.0, 0.0), base, now + APART).weight().number(), 80);
    // A wall clock that was set back does not stop the reports.
    assert_eq!(LoadState::next(Some(first), Load::new(1.0, 0.0), base, UNIX_EPOCH).weight().number(), 80);
}

#[test]
fn memory_counts_when_it_is_short() {
    let weight = |memory| {
        let mut state = None;
        for minute in 1..60 {
            state = Some(LoadState::next(state, Load::new(0.0, memory), Weight::MAX, UNIX_EPOCH + MINUTE * minute));
        }
        state.unwrap().weight().number()
    };
    assert_eq!(weight(0.8), 100);
    assert!((30..=35).contains(&weight(0.9)), "{}", weight(0.9));
}

#[test]
fn loads_are_shares() {
    let read = |json: &str| Load::read(serde_json::from_str::<Value>(json).unwrap().as_object().unwrap());
    assert_eq!(read(r#"{"cpu": 0.5, "memory": "0.25"}"#), Ok(Load { cpu: 0.5, memory: 0.25 }));
    assert_eq!(read(r#"{"cpu": 1.1}"#).unwrap_err().to_string(), "cpu: must be 0 to 1, not 1.1");
    for text in [r#"{"memory": "nan"}"#, r#"{"memory": -0.1}"#, r#"{"memory": "inf"}"#, r#"{"memory": []}"#] {
        assert_eq!(read(text).unwrap_err().field, "memory", "{text}");
    }
    assert_eq!(Load::new(f64::NAN, 7.0), Load { cpu: 0.0, memory: 1.0 });
}
