//! `clusters:` as an operator writes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AgentBeside, Discovery, HealthCheck, LoadBalancer, OutlierDetection, SlowStart, Subsets, ZoneAware};
use crate::config::units::{Duration, Increase, Percent};

/// Where requests go: endpoints that are all the same to the client.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Endpoint>>,
    /// Where endpoints are found, instead of `endpoints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Box<Discovery>>,
    /// What is spoken with them.
    #[serde(default)]
    pub protocol: ClusterProtocol,
    /// How one is chosen.
    #[serde(default)]
    pub load_balancer: LoadBalancer,
    /// Below this share of healthy endpoints health is ignored, lest the rest be overrun; 0% never. Default 50%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<Percent>,
    /// How much more than its share the healthy part of a priority may get before the next one helps. Default +40%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overprovisioning: Option<Increase>,
    /// Prefers endpoints in the zone of this proxy (`node.zone`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_aware: Option<Box<ZoneAware>>,
    /// Share of the requests by zone, in relation to the others; instead of `zone_aware`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zone_weights: BTreeMap<String, u32>,
    /// Endpoints that have just become healthy get their full share by and by. For `round_robin` and `least_request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Box<SlowStart>>,
    /// Parts of the cluster that routes choose by labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsets: Option<Box<Subsets>>,
    /// Asks endpoints whether they are well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Box<HealthCheck>>,
    /// Asks agents beside the endpoints what their operators want, whatever else is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_check: Option<Box<AgentBeside>>,
    /// Leaves endpoints out that answer badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<Box<OutlierDetection>>,
    /// Until a connection stands, with TLS. Default 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// Address that connections come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// Tells endpoints who the client is, at the beginning of each connection; connections then carry the requests of one client connection only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<SentProxyProtocol>,
    /// Connections kept for reuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Box<Pool>>,
    /// How much of the cluster may be in use at once, over all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breakers: Option<Box<CircuitBreakers>>,
    /// Anything; readable by filters as `cluster_metadata`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// TLS towards the endpoints; `{}` verifies them against the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<ClusterTls>>,
}

/// An address, or an address with a weight.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoint {
    /// IP address and port, such as `127.0.0.1:3000`.
    Address(String),
    /// An address and more about it.
    Full(FullEndpoint),
}

/// An address and more about it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullEndpoint {
    /// IP address and port, such as `127.0.0.1:3000`.
    pub address: String,
    /// Further addresses of the same endpoint, at most 16: when a connection does not stand after 300 ms, the next is tried beside it,
    /// the families by turns (RFC 8305).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub additional_addresses: Vec<String>,
    /// Share of the requests, in relation to the others. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: Option<u32>,
    /// Failure domain that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Those with a lower number are used first; others when too few of them are healthy. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 127))]
    pub priority: Option<u32>,
    /// Name that a route with `auto_host` presents as host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What tells it from the others; readable by filters as `upstream_host_metadata`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What is spoken with a cluster.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClusterProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
    /// What the endpoint prefers (ALPN); HTTP/1.1 without TLS.
    Auto,
    /// Bytes: only listeners with `protocol: tcp` lead there.
    Tcp,
}

/// Connections kept for reuse.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Connections of the whole process. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// An idle connection is closed after this. Default 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// A connection is closed some time before this, once it is idle. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// Streams of one HTTP/2 connection before another one is opened, if the endpoint allows as many. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub streams_per_connection: Option<u32>,
    /// How many HTTP/1.1 connections a worker has for each request in flight; those beyond 1 are opened before they are needed. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 3.0))]
    pub preconnect: Option<f64>,
    /// Probes of silent TCP connections, by the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Box<Keepalive>>,
    /// `PING` frames on HTTP/2 connections: one that does not answer is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<Ping>,
    /// A connection is closed after this many; 0 is no limit. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_connection: Option<u64>,
}

/// Probes of silent TCP connections.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keepalive {
    /// Silence before the first probe. Default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Between probes. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Probes without an answer that end the connection. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 127))]
    pub probes: Option<u32>,
}

/// `PING` frames on HTTP/2 connections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// Between them.
    pub interval: Duration,
    /// For the answer. Default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// The PROXY protocol towards endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SentProxyProtocol {
    /// In text.
    V1,
    /// In binary.
    V2,
}

/// Limits over all workers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitBreakers {
    /// Connections that are open, to all endpoints; the lower of this and `pool.connections` counts. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// Connections that are open to one endpoint. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections_per_endpoint: Option<u32>,
    /// Requests that wait for a connection. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u32>,
    /// Requests in flight. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests: Option<u32>,
    /// Attempts beyond the first that are under way, instead of a budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The same as a share of the requests that are in flight or wait. Default 20%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<Percent>,
    /// Attempts that the budget always allows. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_minimum: Option<u32>,
    /// For requests on routes with `priority: high`, counted apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<Box<HighPriority>>,
}

/// Limits for requests of high priority.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HighPriority {
    /// Connections that are open, to all endpoints. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// Requests that wait for a connection. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u32>,
    /// Requests in flight. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests: Option<u32>,
    /// Attempts beyond the first that are under way, instead of a budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The same as a share of the requests of this priority that are in flight or wait. Default: as for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<Percent>,
    /// Attempts that the budget always allows. Default: as for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_minimum: Option<u32>,
}

/// TLS towards endpoints.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterTls {
    /// PEM file of authorities; without it the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// PEM file of revoked certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
    /// Names of which the endpoint's certificate must have one, instead of the one that was asked for: DNS names, IP addresses or URIs, with one
    /// `*` in front or at the end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alternative_names: Vec<String>,
    /// PEM file with the certificate to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// PEM file with that certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Name to ask for and to verify; `auto` is the host of the request. Default `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
}
