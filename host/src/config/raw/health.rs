//! How it is found out which endpoints are well, as an operator writes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{Duration, Percent};

/// Asks endpoints whether they are well. Exactly one of `http`, `grpc`, `tcp`, `redis`, `mongo`, `agent`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Requests this path and expects 200, or more about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheckForm>,
    /// Asks `grpc.health.v1.Health` for this service; `""` is the whole server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Connects; may send and expect bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// Sends `PING`, or looks for a key that must not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisCheck>,
    /// Sends `hello`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mongo: Option<MongoCheck>,
    /// Reads one line from a port: `up`, `down`, `drain`, `75%`, as of HAProxy's agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentCheck>,
    /// Between checks. Default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// A check that takes longer has failed. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Up to this much is added to each interval. Default: a tenth of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// Successes in a row that make an endpoint healthy; the very first check needs one. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub healthy: Option<u32>,
    /// Failures in a row that make it unhealthy; one unexpected HTTP status is enough. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub unhealthy: Option<u32>,
    /// Between checks of a cluster that has never been used. Default: ten times `interval`, at most 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_traffic_interval: Option<Duration>,
    /// Between checks of an unhealthy endpoint. Default: `interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_interval: Option<Duration>,
    /// Whether a connection is used for more than one check. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse_connection: Option<bool>,
}

/// A path, or a path and more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HttpCheckForm {
    /// The path.
    Path(String),
    /// More about it.
    Full(HttpCheck),
}

/// A request that a healthy endpoint answers well.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// Its path.
    pub path: String,
    /// Its host. Default: the name of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its method. Default GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Its headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Statuses that are well, such as `200` or `200-299`. Default 200.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<Status>,
    /// Statuses that count as one failure of several. Default: none, any other status is unhealthy at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retriable: Vec<Status>,
}

impl HttpCheck {
    /// The path, and nothing more.
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            host: None,
            method: None,
            headers: BTreeMap::new(),
            statuses: Vec::new(),
            retriable: Vec::new(),
        }
    }
}

/// A status, or a range of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Status {
    /// One.
    One(#[schemars(range(min = 100, max = 599))] u16),
    /// `200-299`
    Range(String),
}

/// Bytes that are sent, and expected.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TcpCheck {
    /// Sent when the connection stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// Found in the answer, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receive: Vec<String>,
}

/// How Redis is asked.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisCheck {
    /// An endpoint where this key exists is unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// How MongoDB is asked: there is nothing to set.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MongoCheck {}

/// Where an agent answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentCheck {
    /// Port, at the endpoint's address.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Sent first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
}

/// An agent that answers beside each endpoint, as HAProxy's `agent-check`. One that does not answer says nothing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentBeside {
    /// Port, at the endpoint's address.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Sent first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// Between questions. Default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// An agent that takes longer has not answered. Default 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// Leaves endpoints out that answer badly. Defaults are Envoy's.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierDetection {
    /// Statuses of 500 and above, or failures to answer, in a row; 0 never. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_5xx: Option<u32>,
    /// 502, 503 and 504 in a row; 0 never. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_gateway_failure: Option<u32>,
    /// Failures to connect and broken connections in a row, counted apart from statuses when it is set; 0 never. Default: counted with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_local_origin_failure: Option<u32>,
    /// Between looks at rates, and steps of return. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How long an endpoint is left out the first time; each further time that much longer. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Duration>,
    /// At most. Default 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection: Option<Duration>,
    /// Up to this much is added, so that not all come back at once. Default 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// Endpoints that may be left out at once; one always may. Default 10%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejected: Option<Percent>,
    /// Leaves out whoever succeeds much less often than the others. Default: on, with its defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRate>,
    /// Leaves out whoever fails more often than this. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_percentage: Option<FailurePercentage>,
}

/// Leaves out whoever succeeds much less often than the others.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SuccessRate {
    /// Whether it does. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// With fewer endpoints that have enough requests it does not. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_endpoints: Option<u32>,
    /// Requests in an interval that are enough. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// How many standard deviations below the average are too many. Default 1.9.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub deviations: Option<f64>,
}

/// Leaves out whoever fails more often than this.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FailurePercentage {
    /// Share of failures. Default 85%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Percent>,
    /// With fewer endpoints that have enough requests it does not. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_endpoints: Option<u32>,
    /// Requests in an interval that are enough. Default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
}
