//! `listeners:`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{ByteSize, Duration};

/// Where requests come in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port, such as `0.0.0.0:8080`; port 0 is any free one. Or `unix:` and the path of a socket.
    pub address: String,
    /// Permissions of the socket of a `unix:` address, in octal digits. Default `"0600"`: its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What is spoken.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// Certificates, for HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Whether connections begin with a PROXY protocol header. Default `off`.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Networks, such as `10.0.0.0/8`, of the proxies whose PROXY protocol headers are believed. From elsewhere `accept` takes what comes
    /// for the client's own words, and `require` closes the connection. Default: everybody's are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol_from: Option<Vec<String>>,
    /// Whether the address that clients meant is asked of the kernel, which has redirected them here. Default `ignore`.
    #[serde(default, skip_serializing_if = "OriginalDestination::is_ignored")]
    pub original_destination: OriginalDestination,
    /// Names of filters, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Where requests go when no filter says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Instead of `cluster`: several, each with its share of the requests or connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weighted_clusters: Vec<WeightedCluster>,
    /// Most endpoints that are tried for a TCP connection until one takes it. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub connect_attempts: Option<u32>,
    /// Other filters, clusters and certificates for some connections: the first that matches is taken, and what it does not say the
    /// listener says. Connections that none matches take the listener's own filters and cluster; without those they are closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<Chain>,
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
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    Off,
    /// They may: whoever can connect can claim to be anybody.
    Accept,
    /// They must.
    Require,
}

/// Whether the address that clients meant is asked of the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginalDestination {
    /// It is the one that the connection has.
    #[default]
    Ignore,
    /// It is: netfilter has redirected connections here (`SO_ORIGINAL_DST`). Where it has not, it is the one that the connection has.
    Use,
}

impl OriginalDestination {
    fn is_ignored(&self) -> bool {
        *self == Self::Ignore
    }
}

/// Other filters for some connections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Which connections take it. Without a condition: all.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<ChainMatch>,
    /// Names of filters, outermost first. Default: those of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<String>>,
    /// Where requests go when no filter says otherwise. Default: where those of the listener go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Instead of `cluster`: several, each with its share of the requests or connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weighted_clusters: Vec<WeightedCluster>,
    /// Certificates. Default: those of the listener, and none with `transport: plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// A cluster and its share.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedCluster {
    /// Name of the cluster.
    pub cluster: String,
    /// Its part of the sum of weights; 0: nothing goes there.
    pub weight: u32,
}

/// Conditions on a connection: all have to hold. Of several values of one, one has to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChainMatch {
    /// Names that clients ask for in their TLS hello, such as `api.example.com`, or `*.example.com` for all below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub sni: Option<Vec<String>>,
    /// Protocols that clients offer in their TLS hello, such as `h2` or `http/1.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub alpn: Option<Vec<String>>,
    /// Networks or addresses that clients connect from, such as `10.0.0.0/8`; with PROXY protocol as the header says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub source: Option<Vec<String>>,
    /// Ports that clients connect from: `5000`, or `"1024-2047"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub source_ports: Option<Vec<Ports>>,
    /// Networks or addresses that clients connected to; with PROXY protocol as the header says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub destination: Option<Vec<String>>,
    /// The port that clients connected to; with PROXY protocol as the header says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub destination_port: Option<u16>,
    /// Whether connections begin with a TLS hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<ChainTransport>,
}

/// A port, or a range of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Ports {
    /// This one.
    One(#[schemars(range(min = 1, max = 65535))] u16),
    /// From the first to the last, `"1024-2047"`.
    Range(String),
}

/// How bytes are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChainTransport {
    /// As they are.
    Plain,
    /// In TLS.
    Tls,
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
