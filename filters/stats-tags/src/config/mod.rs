//! The configuration.

mod istio;
mod rule;

use fyke_sdk::FilterConfig;
use serde::Deserialize;

pub use istio::{Istio, rules as istio_rules};
pub use rule::{Condition, Identity, Map, Operation, Rule, Source};

/// All keys have defaults.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What names of metrics begin with. Default: `stats_`; with `istio`, `istio_`.
    pub prefix: Option<String>,
    /// Istio's labels, behind those of `labels`.
    pub istio: Option<Istio>,
    /// Where labels get their values. Of several rules for a label the first one that has a value gives it.
    pub labels: Vec<Rule>,
    /// Names, labels and buckets of single metrics.
    pub metrics: Metrics,
    /// The longest value of a label, in bytes, 1 to 256; longer ones are cut. Default: 128.
    pub maximum_length: u16,
    /// What durations are measured in. Default: `milliseconds`.
    pub duration_unit: DurationUnit,
    /// Whether messages of gRPC are counted, for which bodies are looked at. Default: false.
    pub grpc_messages: bool,
    /// The request header that says from which place of its program a caller calls. Default: `x-call-site`.
    pub call_site_header: String,
    /// Whether paths are those with which requests arrive at this filter, and not those that filters behind it have made of them.
    /// Default: false.
    pub original_path: bool,
    /// Dotted names, with properties in them, under which requests are counted: `cluster.%{cluster_name}.upstream_rq`.
    pub stat_names: Vec<String>,
    /// What is taken out of dotted names and becomes a label (Envoy's `stats_tags`).
    pub stats_tags: Vec<Tag>,
    /// What metrics made of `stat_names` begin with. Default: `envoy_`.
    pub stat_prefix: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prefix: None,
            istio: None,
            labels: Vec::new(),
            metrics: Metrics::default(),
            maximum_length: 128,
            duration_unit: DurationUnit::default(),
            grpc_messages: false,
            call_site_header: "x-call-site".to_owned(),
            original_path: false,
            stat_names: Vec::new(),
            stats_tags: Vec::new(),
            stat_prefix: "envoy_".to_owned(),
        }
    }
}

/// What durations are measured in. It is in the metric's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum DurationUnit {
    /// `request_duration_milliseconds`.
    #[default]
    Milliseconds,
    /// `request_duration_microseconds`.
    Microseconds,
}

/// The metrics.
#[derive(Debug, Clone, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Requests: `requests_total`.
    pub requests: Metric,
    /// From the first byte of a request to the last one of its answer: `request_duration_milliseconds`.
    pub duration: Metric,
    /// Bytes of requests: `request_bytes`.
    pub request_size: Metric,
    /// Bytes of answers: `response_bytes`.
    pub response_size: Metric,
    /// Messages of gRPC from clients: `request_messages_total`.
    pub request_messages: Metric,
    /// Messages of gRPC to clients: `response_messages_total`.
    pub response_messages: Metric,
    /// TCP connections that began: `tcp_connections_opened_total`.
    pub connections_opened: Metric,
    /// TCP connections that are over: `tcp_connections_closed_total`.
    pub connections_closed: Metric,
    /// Bytes that clients of TCP sent: `tcp_received_bytes_total`.
    pub bytes_received: Metric,
    /// Bytes that were sent to clients of TCP: `tcp_sent_bytes_total`.
    pub bytes_sent: Metric,
}

/// One of them.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Metric {
    /// Default: true.
    pub enabled: bool,
    /// Its whole name. Default: `prefix`, and what it is.
    pub name: Option<String>,
    /// The labels that it carries. Default: all.
    pub labels: Option<Vec<String>>,
    /// Labels that it does not carry.
    pub without: Vec<String>,
    /// Upper bounds of a histogram's buckets, rising. Default: the host's.
    pub buckets: Vec<u64>,
}

impl Default for Metric {
    fn default() -> Self {
        Self { enabled: true, name: None, labels: None, without: Vec::new(), buckets: Vec::new() }
    }
}

/// Envoy's `TagSpecifier` (`config.metrics.v3`): exactly one of `regex` and `fixed_value`, or neither for a tag that Envoy knows.
#[derive(Debug, Clone, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// What the tag is called; as a label, every character that is no letter, digit or underscore becomes one (`envoy.cluster_name`).
    pub tag_name: String,
    /// Its first group is taken out of the name; the second one, or else the first, is the value.
    pub regex: Option<String>,
    /// The value, whatever the name.
    pub fixed_value: Option<String>,
}
