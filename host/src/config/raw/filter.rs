//! `filters:`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reload;
use crate::config::units::{ByteSize, Duration, Increase, Percent};

/// A WebAssembly module with its configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// `builtin:NAME`, the path of a module relative to this file, `https://...`, or `oci://REGISTRY/REPOSITORY:TAG`.
    pub module: String,
    /// SHA-256 of the module, in hexadecimal; another module is then refused. Required for `https://`, and for `oci://` without a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Files with Ed25519 public keys, of which one must have signed the module. The signature of FILE.wasm is in FILE.wasm.sig.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
    /// Handed to the filter: text as it is, anything else as JSON.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub config: serde_json::Value,
    /// What a module that holds several filters is asked for (`plugin_root_id`). Default: the filter's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_id: Option<String>,
    /// Filters of one module that name the same `vm` share an instance, and its fate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub vm: Option<String>,
    /// Environment variables of the module.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What becomes of the requests that need this filter when it fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Who shares an instance.
    #[serde(default)]
    pub isolation: Isolation,
    /// Memory and time that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<FilterLimits>,
    /// What it may use of the proxy; nothing else is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allow>,
    /// Only these callbacks are called; without it all that the module has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callbacks: Option<Vec<Callback>>,
    /// What it means when the filter pauses in a headers callback; without it what the module says itself, else `stop_all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_pause: Option<HeadersPause>,
    /// Whether a change of the module's file takes effect by itself. Default `manual`.
    #[serde(default, skip_serializing_if = "Reload::is_manual")]
    pub reload: Reload,
    /// A new version of this filter that a share of the requests meets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// A new version of a filter that a share of the requests meets, until it is promoted or found to be bad.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Its module.
    pub module: String,
    /// SHA-256 of the module, in hexadecimal; another module is then refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its configuration; without it the filter's.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub config: serde_json::Value,
    /// Of a hundred requests, or TCP connections, so many meet it. The same ones always, where they have an `x-request-id`.
    #[schemars(range(min = 0, max = 100))]
    pub percent: f64,
    /// How many must have met it before it is judged. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_streams: Option<u32>,
    /// What is so bad that the old version comes back for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_on: Option<RollbackOn>,
}

/// What is so bad of a canary that the old version comes back. One bad request alone never is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackOn {
    /// Of the requests that met it, more than this share met a trap. Default 1%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traps: Option<Percent>,
    /// The share of 5xx answers and resets is larger by more than this than with the old version. Default 5%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Percent>,
    /// Requests take longer by more than this than with the old version, and not by chance. Default: that is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Increase>,
}

/// What becomes of the requests that need a filter which has failed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are answered with 503, or reset.
    #[default]
    Close,
    /// They go on without the filter.
    Open,
}

/// Who shares an instance of a filter.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// The requests of one worker.
    #[default]
    Worker,
    /// Nobody: every request, or TCP connection, has one of its own.
    Stream,
}

/// What it means when a filter pauses in a headers callback.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadersPause {
    /// Nothing of the request goes on.
    StopAll,
    /// The headers wait while the body flows to the filter.
    HeadersOnly,
}

/// A callback of a filter: the name of the Proxy-Wasm export without `proxy_on_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are Proxy-Wasm's")]
pub enum Callback {
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
    NewConnection,
    DownstreamData,
    UpstreamData,
    DownstreamConnectionClose,
    UpstreamConnectionClose,
    Log,
    Done,
    Delete,
    Tick,
    QueueReady,
    HttpCallResponse,
    GrpcReceiveInitialMetadata,
    GrpcReceive,
    GrpcReceiveTrailingMetadata,
    GrpcClose,
    ForeignFunction,
}

/// Limits of a filter.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilterLimits {
    /// Memory of an instance, between 64KiB and 4GiB. Default 64MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// CPU time of one call. Default 10ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_time: Option<Duration>,
    /// CPU time of starting and configuring. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configure_time: Option<Duration>,
    /// Metrics that it may define, and as many series of metrics with labels. Default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub series: Option<u32>,
    /// Instances at a time with `isolation: stream`, all workers together. Beyond it `on_failure` applies. Default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub instances: Option<u32>,
}

/// What a filter may use of the proxy.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Clusters that it may call.
    pub clusters: Vec<String>,
    /// Data shared between filters and workers.
    pub shared_data: bool,
    /// Queues shared between filters and workers. Default: as `shared_data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<bool>,
    /// Metrics of its own. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<bool>,
    /// Setting properties, `fyke.cluster` among them. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_properties: Option<bool>,
    /// Foreign functions, routes and sinks among them: all, none, or those that are named. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign_functions: Option<Selection>,
    /// The time of day. Without it time stands still, in 1970. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<bool>,
    /// Random bytes. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random: Option<bool>,
}

/// All, none, or some.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Selection {
    /// `true` is all of them, `false` none.
    All(bool),
    /// Those of these names.
    Named(Vec<String>),
}
