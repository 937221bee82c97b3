//! What an operator may set about load balancing: plain data, in Envoy's words and with Envoy's defaults.
//!
//! Values out of range are brought into range where they are used, so that no settings can make a plan fail; the
//! configuration is the place that refuses them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::cluster::{balance::host::Health, load::LoadWeights};

/// Settings of a cluster's load balancer.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How a host is chosen once priority and locality are. Default: least request. Envoy: `lb_policy`.
    pub policy: Policy,
    /// Share of missing hosts that a priority bears before load overflows, in percent. Default 140: full load down to
    /// 71.4% available hosts. Envoy: `overprovisioning_factor`.
    pub overprovisioning_factor: u32,
    /// What a priority's availability is measured by. Default: hosts. Envoy: `weighted_priority_health`.
    pub availability: Availability,
    /// Percent of available hosts below which a priority stops to believe in health. Default 50, 0 switches panic off.
    /// Envoy: `healthy_panic_threshold`.
    pub panic_threshold: u32,
    /// What happens to requests for a priority in panic. Default: all hosts are used.
    pub on_panic: OnPanic,
    /// Whether zones matter. Default: they do not. Envoy: `locality_config_specifier`.
    pub locality: Locality,
    /// Division of the cluster by labels. Default: none. Envoy: `lb_subset_config`.
    pub subsets: Option<Subsets>,
    /// Hosts that have just become healthy get their load gradually, under round robin and least request. Default:
    /// none. Envoy: `slow_start_config`.
    pub slow_start: Option<SlowStart>,
    /// Weights are made of what hosts report of their load, under round robin. Default: they are not. Envoy:
    /// `client_side_weighted_round_robin`.
    pub load_weights: Option<Arc<LoadWeights>>,
    /// Health at which an override host is taken. Default: healthy and degraded. Envoy: `override_host_status`.
    pub override_health: Vec<Health>,
}

impl Settings {
    /// The policy's name in the configuration.
    #[must_use]
    pub fn policy_name(&self) -> &'static str {
        match &self.policy {
            Policy::RoundRobin if self.load_weights.is_some() => "client_side_weighted_round_robin",
            Policy::RoundRobin => "round_robin",
            Policy::LeastRequest(_) => "least_request",
            Policy::Random => "random",
            Policy::RingHash(_) => "ring_hash",
            Policy::Maglev(_) => "maglev",
            Policy::PeakEwma(_) => "peak_ewma",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            overprovisioning_factor: 140,
            availability: Availability::Count,
            panic_threshold: 50,
            on_panic: OnPanic::UseAll,
            locality: Locality::Ignore,
            subsets: None,
            slow_start: None,
            load_weights: None,
            override_health: vec![Health::Healthy, Health::Degraded],
        }
    }
}

/// How a host is chosen among those that may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// In turn, heavy hosts more often, spread evenly.
    RoundRobin,
    /// The least busy of a few at random.
    LeastRequest(LeastRequest),
    /// By chance, in proportion to weights.
    Random,
    /// The same hash, the same host; ketama's ring.
    RingHash(RingHash),
    /// The same hash, the same host; Google's lookup table.
    Maglev(Maglev),
    /// The lower of two by latency and requests in flight.
    PeakEwma(PeakEwma),
}

impl Default for Policy {
    fn default() -> Self {
        Self::LeastRequest(LeastRequest::default())
    }
}

/// Settings of least request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeastRequest {
    /// Which hosts are compared. Default: two. Envoy: `selection_method` and `choice_count`.
    pub selection: Selection,
    /// How strongly requests in flight count: `active^bias / weight` is compared. Default 1; 0 ignores them. Negative
    /// and not a number count as 0. Envoy: `active_request_bias`.
    pub bias: f64,
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self { selection: Selection::Choices(2), bias: 1.0 }
    }
}

/// Which hosts least request compares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Selection {
    /// This many at random; fewer than 2 counts as 2, and more than there are hosts as all.
    Choices(u32),
    /// Every host, which costs time in proportion to their number.
    FullScan,
}

/// Settings of the ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RingHash {
    /// Points on the ring at least. Default 1024. Envoy: `minimum_ring_size`.
    pub minimum_size: u32,
    /// Points on the ring at most. Default and ceiling 8 Mi. Envoy: `maximum_ring_size`.
    pub maximum_size: u32,
    /// Bound of a host's load in percent of the average; 0, the default, for none, otherwise at least 100. Envoy:
    /// `hash_balance_factor`.
    pub balance_factor: u32,
}

impl Default for RingHash {
    fn default() -> Self {
        Self { minimum_size: 1024, maximum_size: 8 * 1024 * 1024, balance_factor: 0 }
    }
}

/// Settings of Maglev.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Maglev {
    /// Slots of the table, a prime number (the next one is taken), at most 5,000,011. Default 65537. Envoy:
    /// `table_size`.
    pub table_size: u32,
    /// Bound of a host's load in percent of the average; 0, the default, for none, otherwise at least 100. Envoy:
    /// `hash_balance_factor`.
    pub balance_factor: u32,
}

impl Default for Maglev {
    fn default() -> Self {
        Self { table_size: 65537, balance_factor: 0 }
    }
}

/// Settings of peak EWMA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeakEwma {
    /// Time in which a latency loses all but 1/e of its influence; for whoever keeps the [`Ewma`](crate::cluster::balance::Ewma)s.
    /// Default 10 s. Envoy: `decay_time`.
    pub decay: Duration,
    /// Latency of a host that is idle and was never measured. Default 10 ms. Envoy: `default_rtt`.
    pub default_latency: Duration,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { decay: Duration::from_secs(10), default_latency: Duration::from_millis(10) }
    }
}

/// What the availability of a priority is measured by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Availability {
    /// The number of hosts.
    Count,
    /// The sum of their weights.
    Weight,
}

/// What happens to requests for a priority in panic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnPanic {
    /// They go to all hosts, whatever their health.
    UseAll,
    /// They fail. Envoy: `fail_traffic_on_panic`.
    Fail,
}

/// Whether and how zones matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Locality {
    /// They do not.
    Ignore,
    /// Requests stay in the caller's zone as far as that burdens no host more than others. The policies by hash ignore
    /// it.
    ZoneAware(ZoneAware),
    /// Zones get requests by their weights, scaled down as their hosts become unavailable. Envoy:
    /// `locality_weighted_lb_config`.
    Weighted,
}

/// Settings of zone-aware routing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ZoneAware {
    /// Percent of requests that take part. Default 100. Envoy: `routing_enabled`.
    pub routing_enabled: u32,
    /// Healthy hosts of the first priority below which zones are ignored. Default 6. Envoy: `min_cluster_size`.
    pub minimum_cluster_size: u32,
    /// When everything stays in the own zone. Default: when its share suffices.
    pub direct: DirectRouting,
}

impl Default for ZoneAware {
    fn default() -> Self {
        Self { routing_enabled: 100, minimum_cluster_size: 6, direct: DirectRouting::WhenShareSuffices }
    }
}

/// When zone-aware routing keeps everything in the own zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DirectRouting {
    /// When the zone has at least as large a share of the hosts as of the callers.
    WhenShareSuffices,
    /// Whenever the zone has a healthy host. Envoy: `force_locality_direct_routing`.
    Always,
}

/// Division of a cluster by labels.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subsets {
    /// The label sets by which requests may ask. Envoy: `subset_selectors`.
    pub selectors: Vec<Selector>,
    /// What happens to a request whose labels no subset has. Default: it fails. Envoy: `fallback_policy`.
    pub fallback: Fallback,
    /// Labels of the hosts that [`Fallback::Default`] means. Envoy: `default_subset`.
    pub default_labels: BTreeMap<String, String>,
}

impl Subsets {
    /// Whether it matters for a host's place which value this label has.
    #[must_use]
    pub fn go_by(&self, label: &str) -> bool {
        self.default_labels.contains_key(label)
            || self.selectors.iter().any(|selector| selector.keys.iter().any(|key| key == label))
    }
}

impl Default for Subsets {
    fn default() -> Self {
        Self { selectors: Vec::new(), fallback: Fallback::None, default_labels: BTreeMap::new() }
    }
}

/// A set of labels by which requests may ask: hosts with the same values for all of them make a subset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selector {
    /// Names of the labels, in any order.
    pub keys: Vec<String>,
    /// Overrides the general fallback for requests that ask by these keys. Envoy: `fallback_policy` of a selector.
    pub fallback: Option<Fallback>,
}

/// Where a request goes that no subset fits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fallback {
    /// Nowhere: it fails.
    None,
    /// To any host.
    Any,
    /// To the hosts with the default labels.
    Default,
}

/// Settings of slow start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long it takes from healthy to the full weight. Envoy: `slow_start_window`.
    pub window: Duration,
    /// Shape of the ramp: weight grows with `elapsed^(1 / aggression)`. Default 1, a straight line; zero, negative and
    /// not a number count as 1. Envoy: `aggression`.
    pub aggression: f64,
    /// Least percent of its weight that a host has. Default 10, at most 100. Envoy: `min_weight_percent`.
    pub minimum_weight: u32,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { window: Duration::ZERO, aggression: 1.0, minimum_weight: 10 }
    }
}
