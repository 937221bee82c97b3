//! `tracing:`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClusterTls;
use crate::config::units::{Duration, Percent};

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
