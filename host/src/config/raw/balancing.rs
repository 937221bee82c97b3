//! How requests are spread over a cluster's endpoints, as an operator writes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{Duration, Increase, Percent};

/// How an endpoint is chosen: a name, or a name with settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LoadBalancer {
    /// With its defaults.
    Name(Policy),
    /// With settings.
    Settings(PolicySettings),
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self::Name(Policy::LeastRequest)
    }
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// In turn, by weight.
    RoundRobin,
    /// The less busy of two picked at random.
    LeastRequest,
    /// At random, by weight.
    Random,
    /// The same hash goes to the same endpoint; few move when endpoints come and go.
    RingHash,
    /// The same, from a table: quicker, and more even.
    Maglev,
    /// The one of two picked at random that answers sooner.
    PeakEwma,
    /// In turn, by weights made of what endpoints report of their load (ORCA).
    ClientSideWeightedRoundRobin,
}

/// How an endpoint is chosen, with settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicySettings {
    /// In turn, by weight.
    RoundRobin(NoSettings),
    /// The less busy of some picked at random.
    LeastRequest(LeastRequest),
    /// At random, by weight.
    Random(NoSettings),
    /// The same hash goes to the same endpoint; few move when endpoints come and go.
    RingHash(RingHash),
    /// The same, from a table: quicker, and more even.
    Maglev(Maglev),
    /// The one of two picked at random that answers sooner.
    PeakEwma(PeakEwma),
    /// In turn, by weights made of what endpoints report of their load (ORCA).
    ClientSideWeightedRoundRobin(LoadWeights),
}

/// There is nothing to set.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NoSettings {}

/// The less busy of some picked at random.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeastRequest {
    /// How many are picked. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1000))]
    pub choices: Option<u32>,
    /// With unequal weights: how much being busy counts against weight; 0 not at all. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub active_request_bias: Option<f64>,
}

/// A ring of hashes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RingHash {
    /// Entries of the ring, at least. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8_388_608))]
    pub minimum_size: Option<u32>,
    /// Entries of the ring, at most. Default 8388608.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8_388_608))]
    pub maximum_size: Option<u32>,
    /// How much busier than the average an endpoint may be before the next one takes its requests. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounded_load: Option<Increase>,
}

/// A table of hashes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Maglev {
    /// Entries of the table, a prime. Default 65537.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 5_000_011))]
    pub table_size: Option<u32>,
    /// How much busier than the average an endpoint may be before the next one takes its requests. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounded_load: Option<Increase>,
}

/// By average latency that remembers peaks.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeakEwma {
    /// How soon old latencies are forgotten. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<Duration>,
    /// What an endpoint counts with that has not answered yet. Default 10ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_latency: Option<Duration>,
}

/// By what endpoints report of their load: in `endpoint-load-metrics` of their answers, or when they are asked.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadWeights {
    /// How long an endpoint has to report before its reports count. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blackout: Option<Duration>,
    /// After so long without a report its weight is that of the middle of the others. Default 3m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Duration>,
    /// How often weights are made. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Duration>,
    /// What an error a request counts, as a share of all that the endpoint can do. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub error_penalty: Option<f64>,
    /// Figures of which the largest is the utilization, where the endpoint reports no `application_utilization`: `cpu_utilization`,
    /// `mem_utilization`, `utilization.NAME`, `named_metrics.NAME`. Default: the CPU's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// Endpoints are asked to report this often by gRPC (`xds.service.orca.v3.OpenRcaService`), beside their answers. Default: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_band: Option<Duration>,
}

/// Prefers endpoints in the zone of this proxy.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ZoneAware {
    /// Share of the requests for which it is done. Default 100%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<Percent>,
    /// With fewer endpoints it is not done. Default 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_endpoints: Option<u32>,
}

/// How an endpoint gets its full share by and by.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowStart {
    /// How long that takes.
    pub window: Duration,
    /// Above 1 the share grows quickly at first. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 100.0))]
    pub aggression: Option<f64>,
    /// Share to begin with. Default 10%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_weight: Option<Percent>,
}

/// Parts of a cluster that routes choose by labels.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subsets {
    /// Lists of labels that a route may name together.
    #[schemars(length(min = 1))]
    pub keys: Vec<Vec<String>>,
    /// What a request gets whose labels no endpoint has. Default `none`.
    #[serde(default)]
    pub fallback: SubsetFallback,
    /// Labels of the part for `fallback: default`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, String>,
}

/// What a request gets whose labels no endpoint has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubsetFallback {
    /// 503.
    #[default]
    None,
    /// Any endpoint.
    Any,
    /// One of the part under `default`.
    Default,
}
