//! Configuration as an operator writes it. The schema, and with it every check of names, types and units, is
//! derived from these types; their comments are its descriptions.
//!
//! `x-fyke-unsupported` lists the words of the format that this version does not know how to honour. They are
//! refused by name, and are not in the printed schema.

mod balancing;
mod cluster;
mod filter;
mod health;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{balancing::*, cluster::*, filter::*, health::*};
use super::units::{ByteSize, Duration};

/// Configuration of Fyke, a service proxy. Listeners take requests in, filters look at them, clusters are where they go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Fyke", extend("x-fyke-unsupported" = ["control_planes", "register", "tracing", "metrics", "tests"]))]
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
    /// Where requests come in, by name. At least one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: BTreeMap<String, Listener>,
    /// What looks at requests, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub filters: BTreeMap<String, Filter>,
    /// Where requests go, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, Cluster>,
    /// Where filters write, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, Sink>,
    /// Whether a change of this file, of what it includes or of a certificate takes effect by itself. Default `manual`.
    #[serde(skip_serializing_if = "Reload::is_manual")]
    pub reload: Reload,
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
#[schemars(extend("x-fyke-unsupported" = ["memory"]))]
pub struct ProcessLimits {
    /// Downstream connections, all listeners together. Default 20000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
}

/// Where requests come in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-fyke-unsupported" = ["chains"]))]
pub struct Listener {
    /// IP address and port, such as `0.0.0.0:8080`; port 0 is any free one.
    pub address: String,
    /// What is spoken.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// Certificates, for HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Whether connections begin with a PROXY protocol header.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Names of filters, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Where requests go when no filter says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Limits for each connection, and their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ListenerLimits>,
    /// Anything; readable by filters as `listener_metadata`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// How long open requests and connections may go on when the process ends; the longest of all listeners counts for
    /// every one. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Duration>,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenerProtocol {
    /// HTTP/1.1 and HTTP/2.
    #[default]
    Http,
    /// Bytes, both ways.
    Tcp,
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-fyke-unsupported" = ["accept", "require"]))]
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    Off,
}

/// TLS of a listener.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Chosen by the name that the client asks for; the first when none fits.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
    /// PEM file of authorities; clients must then show a certificate by one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
}

/// A certificate with its key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file with the certificate, then the rest of its chain.
    pub certificate: String,
    /// PEM file with the private key.
    pub key: String,
}

/// Limits of a listener.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerLimits {
    /// Open connections. Default 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// Size of a request's head; at least 8KiB. Default 60KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_bytes: Option<ByteSize>,
    /// Headers of a request. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub headers: Option<u32>,
    /// From a request's first byte to the end of its head. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_timeout: Option<Duration>,
    /// Without a byte in either direction. Default 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// Concurrent streams of an HTTP/2 connection. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub streams: Option<u32>,
    /// Held for a stream that a filter has paused, each direction. Default 1MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<ByteSize>,
}

/// Where filters write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-fyke-unsupported" = ["otlp"]))]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Appended to this file, relative to the configuration's.
    File(String),
}
