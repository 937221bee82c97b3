//! Configuration that cannot be wrong: every reference is checked, every default filled in.
//!
//! The raw form ([`super::raw`]) says what an operator wrote; this one says what it means. Nothing here is
//! optional for lack of a default, and names refer to things that exist.

mod control_plane;
mod discovery;
mod filter;
mod listener;
mod register;
mod target;
mod telemetry;
mod test;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

pub use self::{control_plane::*, discovery::*, filter::*, listener::*, register::*, target::*, telemetry::*, test::*};
use super::fingerprint::Fingerprint;
pub use super::resolve::Certificates;
use crate::cluster::{balance, health};

/// A whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this proxy is; readable by filters as `node`.
    pub node: Node,
    /// Number of workers, at least one. `auto` is the number of available cores.
    pub workers: usize,
    /// It was `auto`.
    pub workers_are_auto: bool,
    /// Directory for compiled modules; `None`: nothing is kept on disk.
    pub state: Option<PathBuf>,
    /// Where the admin endpoint listens; `None`: nowhere.
    pub admin: Option<Admin>,
    /// Limits of the process.
    pub limits: ProcessLimits,
    /// Control planes by name.
    pub control_planes: BTreeMap<String, Arc<ControlPlane>>,
    /// Listeners in the order of their names.
    pub listeners: Vec<Listener>,
    /// Filters that some listener uses or not, by name.
    pub filters: BTreeMap<String, Arc<Filter>>,
    /// Clusters by name.
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    /// Sinks by name.
    pub sinks: BTreeMap<String, Sink>,
    /// Where spans go.
    pub tracing: Option<Arc<Tracing>>,
    /// Where metrics are sent.
    pub metrics: Option<Arc<Metrics>>,
    /// What is announced at a registry.
    pub register: Option<Arc<Register>>,
    /// What makes a new generation without being asked.
    pub reload: Reload,
    /// What `fyke test` sends and expects.
    pub tests: Vec<Test>,
    /// Everything but listeners, filters and clusters.
    pub rest: Fingerprint,
    /// The files that it was read from: itself, what it includes, certificates and keys.
    pub files: Vec<PathBuf>,
    /// The texts that it was read from, for [`super::Report`].
    pub sources: Arc<super::Sources>,
}

impl Config {
    /// Whether a cluster that is not here may come when somebody needs it.
    #[must_use]
    pub fn has_clusters_on_demand(&self) -> bool {
        self.control_planes.values().any(|plane| plane.on_demand.is_some())
    }

    /// Puts a filter in the place of the one of its name, in every chain too.
    pub fn put(&mut self, filter: &Arc<Filter>) {
        let of_listeners = self.listeners.iter_mut().flat_map(Listener::filter_lists_mut).flatten();
        for one in of_listeners.filter(|one| one.name == filter.name) {
            *one = Arc::clone(filter);
        }
        self.filters.insert(filter.name.clone(), Arc::clone(filter));
    }
}

/// `reload:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reload {
    /// SIGHUP, `fyke reload` or the admin endpoint have to ask for it.
    #[default]
    Manual,
    /// So does a change of the files.
    Watch,
}

/// `node:`
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// `id`
    pub id: String,
    /// `cluster`
    pub cluster: String,
    /// `zone`
    pub zone: String,
    /// `metadata`
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// `admin:`
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where.
    pub address: Address,
    /// Where the token is that changes need; made at start when it is missing. `None`: the place for this address.
    pub token_file: Option<PathBuf>,
    /// Where it was written.
    pub origin: Origin,
}

/// `address:` of a listener or the admin endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// IP address and port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Address {
    /// The IP address and port, where there are some.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The port, where there is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.ip().map(|address| address.port())
    }

    /// Whether any free port will do.
    #[must_use]
    pub fn is_any_port(&self) -> bool {
        self.port() == Some(0)
    }
}

impl std::str::FromStr for Address {
    type Err = std::net::AddrParseError;

    /// Reads what `Display` has written.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp),
        }
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `limits:` of the process.
#[derive(Debug, Clone)]
pub struct ProcessLimits {
    /// Downstream connections, all listeners together. Default 20,000, or less where the limit of open files is lower.
    pub connections: usize,
    /// Resident memory, in bytes. `None`: what the control group grants, or no limit.
    pub memory: Option<u64>,
}

/// Where a thing was written, for messages: `file:line`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// File as it was named on the command line.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// One of `clusters:`.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its key.
    pub name: String,
    /// Where it was written.
    pub origin: Origin,
    /// Static endpoints; may be empty.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Where endpoints are found instead.
    pub discovery: Option<Arc<Discovery>>,
    /// Protocol towards the endpoints.
    pub protocol: ClusterProtocol,
    /// How one is chosen.
    pub balancing: balance::Settings,
    /// The zone of this proxy; empty: unknown.
    pub own_zone: String,
    /// With `Locality::Weighted`: the shares of zones.
    pub zone_weights: BTreeMap<String, u32>,
    /// Asks endpoints whether they are well.
    pub health_check: Option<Arc<health::active::Settings>>,
    /// Asks agents beside them what their operators want.
    pub agent_check: Option<Arc<health::active::Settings>>,
    /// Leaves endpoints out that answer badly.
    pub outlier_detection: Option<Arc<health::outlier::Settings>>,
    /// Default 1 s.
    pub connect_timeout: Duration,
    /// Address that connections come from; `None`: the system's choice.
    pub bind: Option<std::net::IpAddr>,
    /// Tells endpoints who the client is, at the beginning of each connection.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// Connections kept for reuse.
    pub pool: Pool,
    /// How much may be in use at once.
    pub circuit_breakers: CircuitBreakers,
    /// Anything; readable by filters.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// TLS towards the endpoints.
    pub tls: Option<ClusterTls>,
    /// All of this, its certificates included.
    pub fingerprint: Fingerprint,
}

/// An endpoint of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub address: SocketAddr,
    /// Further addresses that connections may go to instead.
    pub others: Box<[SocketAddr]>,
    /// At least 1. Default 1.
    pub weight: u32,
    /// Failure domain; empty: unknown.
    pub zone: String,
    /// Those with a lower number are used first. Default 0.
    pub priority: u32,
    /// What a route with `auto_host` presents as host.
    pub hostname: Option<String>,
    /// What tells it from the others.
    pub labels: BTreeMap<String, String>,
}

/// `circuit_breakers:`
#[derive(Debug, Clone, Default)]
pub struct CircuitBreakers {
    /// For requests of usual priority, and TCP connections.
    pub usual: Thresholds,
    /// `high`: for requests of high priority.
    pub high: Thresholds,
}

/// Limits over all workers. Defaults are Envoy's.
#[derive(Debug, Clone)]
pub struct Thresholds {
    /// Connections that are open, to all endpoints. Default 1024.
    pub connections: usize,
    /// Connections that are open to one endpoint. Default: no limit.
    pub connections_per_endpoint: u32,
    /// Requests that wait for a connection. Default 1024.
    pub pending: u32,
    /// Requests in flight. Default 1024.
    pub requests: u32,
    /// Attempts beyond the first that are under way. Default: a budget of 20%, at least 3.
    pub retries: RetryLimit,
}

/// How many attempts beyond the first may be under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RetryLimit {
    /// So many.
    Count(u32),
    /// A share of the requests that are in flight or wait.
    Budget {
        /// Of 100.
        percent: f64,
        /// However few requests there are.
        at_least: u32,
    },
}

impl RetryLimit {
    /// A budget. Default: 20%, at least 3.
    #[must_use]
    pub fn budget(percent: Option<f64>, at_least: Option<u32>) -> Self {
        Self::Budget { percent: percent.unwrap_or(20.0), at_least: at_least.unwrap_or(3) }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_endpoint: u32::MAX,
            pending: 1024,
            requests: 1024,
            retries: RetryLimit::budget(None, None),
        }
    }
}

impl Endpoint {
    /// With the defaults of everything else.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let (zone, labels) = (String::new(), BTreeMap::new());
        Self { address, others: Box::default(), weight: 1, zone, priority: 0, hostname: None, labels }
    }

    /// Whether connections to the one may serve for the other: all is the same but the weight.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let Self { address, others, weight: _, zone, priority, hostname, labels } = self;
        (address, others, zone, priority) == (&other.address, &other.others, &other.zone, &other.priority)
            && (hostname, labels) == (&other.hostname, &other.labels)
    }
}

/// `protocol:` of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, by prior knowledge without TLS, by ALPN with it.
    Http2,
    /// What ALPN says; HTTP/1.1 without TLS.
    Auto,
    /// Bytes, without ALPN.
    Tcp,
}

/// `proxy_protocol:` of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocolVersion {
    /// In text.
    V1,
    /// In binary.
    V2,
}

/// `pool:`
#[derive(Debug, Clone)]
pub struct Pool {
    /// An idle connection is closed after this. Default 1 h.
    pub idle_timeout: Duration,
    /// A connection is closed after this many; 0: no limit. Default 0.
    pub requests_per_connection: u64,
    /// A connection is closed some time before this, once it is idle. Default: no limit.
    pub max_age: Option<Duration>,
    /// Streams of one HTTP/2 connection before another one is opened. Default 100.
    pub streams_per_connection: u32,
    /// HTTP/1.1 connections of a worker for each request in flight. Default 1.
    pub preconnect: f64,
    /// Probes of silent TCP connections. Default: none.
    pub keepalive: Option<Keepalive>,
    /// `PING` frames on HTTP/2 connections: interval and timeout. Default: none.
    pub ping: Option<(Duration, Duration)>,
}

/// `keepalive:` of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    /// Silence before the first probe. Default 60 s.
    pub idle: Duration,
    /// Between probes. Default 10 s.
    pub interval: Duration,
    /// Probes without an answer that end the connection. Default 3.
    pub probes: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(3600),
            requests_per_connection: 0,
            max_age: None,
            streams_per_connection: 100,
            preconnect: 1.0,
            keepalive: None,
            ping: None,
        }
    }
}

/// `tls:` of a cluster. Files have been read and parsed.
#[derive(Debug, Clone)]
pub struct ClusterTls {
    /// Ready for rustls, ALPN set from the cluster's protocol.
    pub config: Arc<rustls::ClientConfig>,
    /// Server name to ask for and to verify.
    pub sni: Sni,
    /// What is presented to endpoints that ask.
    pub identity: Option<Arc<rustls::sign::CertifiedKey>>,
}

impl ClusterTls {
    /// The same for a connection that offers these protocols, whatever requests may agree on.
    #[must_use]
    pub fn offering(&self, protocols: &[&[u8]]) -> Self {
        let mut config = rustls::ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self { config: Arc::new(config), ..self.clone() }
    }
}

/// `sni:` of a cluster's TLS.
#[derive(Debug, Clone)]
pub enum Sni {
    /// The host of the request (`:authority` without port); the endpoint's address where that is not a name.
    Auto,
    /// Always this name.
    Name(rustls::pki_types::ServerName<'static>),
}

/// One of `sinks:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
    /// Sent to a collector.
    Otlp(Arc<LogCollector>),
}
