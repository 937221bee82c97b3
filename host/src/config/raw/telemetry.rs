//! `tracing:` and `metrics:`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClusterTls;
use crate::config::units::{ByteSize, Duration, Percent};

/// Where the spans of traces go. Which requests belong to traces, and which are recorded, is said by a filter such as `builtin:tracing-context`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// The collector.
    pub otlp: Collector,
    /// Share of the traces that are recorded where nobody has decided on it before; filters can read it. Default 1%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Percent>,
    /// A filter that holds the headers of a recorded stream for at least this long gets a span of its own. Default 1ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_threshold: Option<Duration>,
    /// `service.name` of the spans. Default: `node.cluster`, else `fyke`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// Where metrics are sent, and how many there may be.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// A StatsD server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statsd: Option<Statsd>,
    /// A collector of OpenTelemetry; all metrics are sent to it once in `interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Collector>,
    /// How often they are sent, from 100ms to 24h. Default 10s to StatsD, 1m to OpenTelemetry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Most series of the proxy's own metrics; what is beyond counts in series whose labels are all `overflow`. Those of filters are bounded by
    /// the filters' `limits.series`. Default 100000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub series: Option<u32>,
}

/// A StatsD server: its address, or more about it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Statsd {
    /// `host:port` over UDP, or `unix:` and the path of a datagram socket.
    Address(String),
    /// An address and more about it.
    Full(Box<FullStatsd>),
}

/// An address and more about it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullStatsd {
    /// `host:port` over UDP, or `unix:` and the path of a datagram socket.
    pub address: String,
    /// What the server understands. Default `statsd`.
    #[serde(default)]
    pub dialect: StatsdDialect,
    /// In front of every name, with a dot; may be empty. Default `fyke`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How histograms are told. Default `summary`, or `distributions` with `dialect: dogstatsd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histograms: Option<StatsdHistograms>,
    /// Largest datagram, from 128B to 65507B. Default 1432B over UDP, 8KiB over a socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagram: Option<ByteSize>,
    /// How often the server's name is looked up. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Duration>,
}

/// What a StatsD server understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatsdDialect {
    /// Plain StatsD: labels become part of the name.
    #[default]
    Statsd,
    /// With Datadog's tags and distributions.
    Dogstatsd,
}

/// How histograms are told to a StatsD server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatsdHistograms {
    /// Count and sum as counters, quantiles as gauges.
    Summary,
    /// Values with sample rates, as timers, which Envoy sends.
    Timers,
    /// The same as Datadog's distributions.
    Distributions,
}

/// A collector of OpenTelemetry: its address, or more about it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Collector {
    /// `host:port`, `http://host:port`, `https://host:port`, or `unix:` and the path of a socket.
    Address(String),
    /// An address and more about it.
    Full(Box<FullCollector>),
}

/// An address and more about it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullCollector {
    /// `host:port`, `http://host:port`, `https://host:port`, or `unix:` and the path of a socket.
    pub address: String,
    /// What is spoken. Default `grpc`.
    #[serde(default)]
    pub protocol: CollectorProtocol,
    /// Sent with each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long records wait for others to be sent with. Default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// For one attempt to send a batch. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Whether batches are compressed. Default `none`.
    #[serde(default)]
    pub compression: CollectorCompression,
    /// Whom to believe with `https://`, and what to show. Default: the system's authorities, and nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<ClusterTls>>,
}

/// What is spoken with a collector.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectorProtocol {
    /// OTLP over gRPC, usually on port 4317.
    #[default]
    Grpc,
    /// OTLP in protobuf over HTTP/1.1, usually on port 4318.
    Http,
}

/// Whether batches are compressed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectorCompression {
    /// They are not.
    #[default]
    None,
    /// With gzip.
    Gzip,
}
