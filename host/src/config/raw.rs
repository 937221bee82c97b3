//! Configuration as an operator writes it. The schema, and with it every check of names, types and units, is
//! derived from these types; their comments are its descriptions.

mod balancing;
mod cluster;
mod control_plane;
mod discovery;
mod filter;
mod health;
mod listener;
mod register;
mod telemetry;
mod test;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    balancing::*, cluster::*, control_plane::*, discovery::*, filter::*, health::*, listener::*, register::*,
    telemetry::*, test::*,
};
use super::units::ByteSize;

/// Configuration of Fyke, a service proxy. Listeners take requests in, filters look at them, clusters are where they go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Fyke")]
pub struct File {
    /// Where the schema of this file is, for editors. Not used by Fyke.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// More files whose listeners, filters, clusters and sinks belong here: paths relative to this file, `*` in the last part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Who this proxy is; filters can read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// Threads that serve requests; `auto` is one for each core. Default `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
    /// Folder for compiled modules; without it nothing is kept on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Where status, metrics and the web interface are served; without it nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// Limits of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ProcessLimits>,
    /// Control planes, by name, whose listeners, clusters and what these refer to belong here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub control_planes: BTreeMap<String, ControlPlane>,
    /// Where requests come in, by name. At least one, unless a control plane has them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: BTreeMap<String, Listener>,
    /// What is behind this proxy, announced at a registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register: Option<Box<Register>>,
    /// What looks at requests, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub filters: BTreeMap<String, Filter>,
    /// Where requests go, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, Cluster>,
    /// Where filters write, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, Sink>,
    /// Where the spans of traces go; without it nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Where metrics are sent, beside `/metrics` on the admin endpoint, where they always are; without it nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Whether a change of this file, of what it includes or of a certificate takes effect by itself. Default `manual`.
    #[serde(skip_serializing_if = "Reload::is_manual")]
    pub reload: Reload,
    /// Requests and what is to become of them, for `fyke test`. Those that run a proxy only check that they make sense.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Test>,
}

/// What makes a new generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    /// Whoever asks for it: SIGHUP, `fyke reload`, the admin endpoint.
    #[default]
    Manual,
    /// A change of the file does, too.
    Watch,
}

impl Reload {
    fn is_manual(&self) -> bool {
        *self == Self::Manual
    }
}

/// Who this proxy is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Identity of this proxy.
    pub id: String,
    /// Name of the fleet that it belongs to.
    pub cluster: String,
    /// Failure domain that it runs in.
    pub zone: String,
    /// Anything else that filters want to know.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// `auto` or a number.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Workers {
    /// One for each core.
    Auto(Auto),
    /// This many.
    Count(#[schemars(range(min = 1, max = 1024))] u32),
}

/// One for each core.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// One for each core.
    Auto,
}

/// Where status, metrics and the web interface are served.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// IP address and port, such as `127.0.0.1:9900`, or `unix:` and the path of a socket.
    pub address: String,
    /// Where the token is that changes need; made at start when it is missing. Default: `fyke/ADDRESS.token` in `$XDG_RUNTIME_DIR` or `/run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
}

/// Limits of the process.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessLimits {
    /// Downstream connections, all listeners together. From 90% on they are closed after their answers. Default 20000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// Resident memory, at least 16MiB. From 90% on connections are closed after their answers, above 95% a rising share of requests is
    /// answered with 503, from 98% on no connection is accepted. Default: what the control group grants; without one no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
}

/// Where filters write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Appended to this file, relative to the configuration's.
    File(String),
    /// A collector of OpenTelemetry: each record is a log record there.
    Otlp(Collector),
}
