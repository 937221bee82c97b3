//! `listeners:`

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{Address, Certificates, Filter, Origin, Target};
use crate::{config::fingerprint::Fingerprint, listener::chain::Matcher};

/// One of `listeners:`.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its key.
    pub name: String,
    /// Where it was written.
    pub origin: Origin,
    /// Address to bind.
    pub address: Address,
    /// Permissions of the socket of [`Address::Unix`]. Default 0600.
    pub mode: u32,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: ProxyProtocol,
    /// Whose header is believed; empty: everybody's.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whether the kernel knows what clients connected to.
    pub original_destination: OriginalDestination,
    /// TLS, when configured.
    pub tls: Option<ListenerTls>,
    /// Filters, outermost first; each exists in [`Config::filters`].
    pub filters: Vec<Arc<Filter>>,
    /// Where requests go when no filter says otherwise.
    pub target: Target,
    /// Most endpoints that are tried for a TCP connection. Default 5.
    pub connect_attempts: usize,
    /// Other filters for some connections, the first match first.
    pub chains: Vec<FilterChain>,
    /// What becomes of connections that none of them matches.
    pub rest: Rest,
    /// Limits per connection and for the listener.
    pub limits: ListenerLimits,
    /// How long open streams get when the process drains. Default 30 s.
    pub drain: Duration,
    /// Anything; readable by filters.
    pub metadata: Arc<serde_json::Map<String, serde_json::Value>>,
    /// All of this, its certificates included.
    pub fingerprint: Fingerprint,
}

impl Listener {
    /// The filters of all its chains, its own first.
    pub fn filter_lists(&self) -> impl Iterator<Item = &Vec<Arc<Filter>>> {
        std::iter::once(&self.filters).chain(self.chains.iter().map(|chain| &chain.filters))
    }

    /// The same, to be changed.
    pub fn filter_lists_mut(&mut self) -> impl Iterator<Item = &mut Vec<Arc<Filter>>> {
        std::iter::once(&mut self.filters).chain(self.chains.iter_mut().map(|chain| &mut chain.filters))
    }
}

/// One of `chains:` of a listener, with what it takes over from it.
#[derive(Debug, Clone)]
pub struct FilterChain {
    /// Where it was written.
    pub origin: Origin,
    /// Which connections take it.
    pub matcher: Matcher,
    /// Of the matcher: the same chain in the next generation has the same.
    pub identity: Fingerprint,
    /// TLS, when configured here or for the listener. `None`: what comes is passed on as it is.
    pub tls: Option<ListenerTls>,
    /// Filters, outermost first; each exists in [`super::Config::filters`].
    pub filters: Vec<Arc<Filter>>,
    /// Where requests go when no filter says otherwise.
    pub target: Target,
}

/// What becomes of connections that no chain matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rest {
    /// They take the listener's own filters and cluster.
    #[default]
    Own,
    /// They are closed: the listener has neither.
    Closed,
}

/// `proxy_protocol:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyProtocol {
    /// Connections begin with what their client says.
    #[default]
    Off,
    /// With a header, or not.
    Accept,
    /// With a header.
    Require,
}

/// `original_destination:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OriginalDestination {
    /// A connection's local address is what its client connected to.
    #[default]
    Ignore,
    /// The kernel knows better.
    Use,
}

/// `protocol:` of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListenerProtocol {
    /// HTTP/1.1 and HTTP/2.
    #[default]
    Http,
    /// Bytes, both ways.
    Tcp,
}

/// `tls:` of a listener. Files have been read and parsed.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// Ready for rustls, with ALPN `h2` and `http/1.1` where HTTP is spoken, certificates chosen by SNI and client certificates verified when `client_ca` is set.
    pub config: Arc<rustls::ServerConfig>,
    /// What it chooses from.
    pub certificates: Arc<Certificates>,
}

/// `limits:` of a listener.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// Open connections. Default 10,000.
    pub connections: usize,
    /// Bytes of one request's head. Default 60 KiB.
    pub header_bytes: usize,
    /// Headers of one request. Default 100.
    pub headers: usize,
    /// From a request's first byte to the end of its head. Default 10 s.
    pub header_timeout: Duration,
    /// Without any byte in either direction. Default 5 min.
    pub idle_timeout: Duration,
    /// Concurrent streams of an HTTP/2 connection. Default 100.
    pub streams: u32,
    /// Bytes held for a paused stream, each direction. Default 1 MiB.
    pub buffer: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 60 * 1024,
            headers: 100,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            streams: 100,
            buffer: 1024 * 1024,
        }
    }
}
