//! Properties of whole plans. Random generators are seeded, so that nothing is left to chance.

use std::cell::{Cell, RefCell};

use super::*;

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
mod hashing;
mod health;
mod hostile;
mod policies;
mod subsets;
mod zones;

/// Load on hosts, set by the test.
#[derive(Debug, Default)]
struct Fleet {
    active: RefCell<Vec<u32>>,
    latency: RefCell<Vec<Option<f64>>>,
}

impl Fleet {
    fn idle() -> Self {
        Self::default()
    }

    fn busy(active: &[u32]) -> Self {
        Self { active: RefCell::new(active.to_vec()), ..Self::default() }
    }

    fn slow(latency: &[f64]) -> Self {
        Self { latency: RefCell::new(latency.iter().copied().map(Some).collect()), ..Self::default() }
    }
}

impl Load for Fleet {
    fn active(&self, host: usize) -> u32 {
        self.active.borrow().get(host).copied().unwrap_or(0)
    }

    fn latency(&self, host: usize) -> Option<f64> {
        self.latency.borrow().get(host).copied().flatten()
    }
}

/// `count` healthy hosts of weight 1.
fn hosts(count: usize) -> Vec<Host> {
    (0..count)
        .map(|host| Host { key: format!("10.0.{}.{}:80", host / 256, host % 256), weight: 1, ..Host::default() })
        .collect()
}

fn weighted(weights: &[u32]) -> Vec<Host> {
    hosts(weights.len()).into_iter().zip(weights).map(|(host, weight)| Host { weight: *weight, ..host }).collect()
}

/// Healthy hosts, so many for each zone.
fn zoned(zones: &[(&str, usize)]) -> Vec<Host> {
    let names = zones.iter().flat_map(|(zone, count)| std::iter::repeat_n(*zone, *count));
    let total = zones.iter().map(|(_, count)| count).sum();
    hosts(total).into_iter().zip(names).map(|(host, zone)| Host { zone: zone.to_owned(), ..host }).collect()
}

fn policy(policy: Policy) -> Settings {
    Settings { policy, ..Settings::default() }
}

fn plan(settings: &Settings, hosts: &[Host]) -> Plan {
    Plan::build(settings, "", &[], hosts)
}

fn all(_: usize) -> bool {
    true
}

/// Share of each host in `count` picks.
fn shares(plan: &Plan, count: u32, request: &Request<'_>, fleet: &Fleet, usable: &impl Fn(usize) -> bool) -> Vec<f64> {
    let mut local = Local::new(7);
    let mut hits = vec![0.0; plan.len()];
    for _ in 0..count {
        hits[plan.pick(request, &mut local, fleet, usable).unwrap()] += 1.0;
    }
    hits.iter().map(|hits| hits / f64::from(count)).collect()
}

/// Shares of idle and usable hosts.
fn idle_shares(plan: &Plan, count: u32) -> Vec<f64> {
    shares(plan, count, &Request::default(), &Fleet::idle(), &all)
}

/// Each share is within `tolerance` of what is expected, relative to it.
fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (share, wanted) in found.iter().zip(expected) {
        assert!((share - wanted).abs() <= wanted * tolerance, "found {found:.4?}, expected {expected:.4?}");
    }
}

/// Every policy, with its defaults.
fn policies() -> Vec<Policy> {
    use crate::cluster::balance::settings::{LeastRequest, Maglev, PeakEwma, RingHash, Selection};
    vec![
        Policy::RoundRobin,
        Policy::LeastRequest(LeastRequest::default()),
        Policy::LeastRequest(LeastRequest { selection: Selection::Choices(4), bias: 1.5 }),
        Policy::LeastRequest(LeastRequest { selection: Selection::FullScan, bias: 1.0 }),
        Policy::Random,
        Policy::PeakEwma(PeakEwma::default()),
        Policy::RingHash(RingHash { minimum_size: 400_000, ..RingHash::default() }),
        Policy::Maglev(Maglev::default()),
    ]
}
