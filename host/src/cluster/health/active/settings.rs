//! What an operator may set: Envoy's fields and defaults.
//!
//! Plain data in types that cannot be malformed (a path is a `PathAndQuery`, a host an `Authority`). What types
//! cannot rule out is refused by [`Settings::check`].

use std::{ops::RangeInclusive, time::Duration};

use ::http::{
    HeaderMap, Method,
    uri::{Authority, PathAndQuery, Scheme},
};
use bytes::Bytes;

use super::raw;

/// Settings of the health check of a cluster (`envoy.config.core.v3.HealthCheck`).
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is asked.
    pub kind: Kind,
    /// Time from the end of a check to the next one. Default 5 s.
    pub interval: Duration,
    /// How long a whole check may take, connecting included. Default 1 s.
    pub timeout: Duration,
    /// Up to this much is added to each interval, at random. Default 0.
    pub interval_jitter: Duration,
    /// Up to this share of the interval, in percent, is added to it, at random. Default 0.
    pub interval_jitter_percent: u32,
    /// The first check is put off by up to this much, at random, so that hosts that came together are not all asked
    /// at once. Default 0.
    pub initial_jitter: Duration,
    /// Passed checks in a row that make an unhealthy host healthy; the very first check needs only one. Default 2.
    pub healthy: u32,
    /// Failed checks in a row that make a healthy host unhealthy, where one does not suffice: see
    /// [`super::FailureKind`]. Default 3.
    pub unhealthy: u32,
    /// The interval while the cluster has had no traffic. Default 60 s.
    pub no_traffic_interval: Duration,
    /// The same for hosts that are healthy. Default: `no_traffic_interval`.
    pub no_traffic_healthy_interval: Option<Duration>,
    /// The interval for hosts that are unhealthy. Default: `interval`.
    pub unhealthy_interval: Option<Duration>,
    /// The interval while a healthy host fails but is not unhealthy yet. Default: `unhealthy_interval`.
    pub unhealthy_edge_interval: Option<Duration>,
    /// The interval while an unhealthy host passes but is not healthy yet. Default: `interval`.
    pub healthy_edge_interval: Option<Duration>,
    /// Whether a connection is kept for the next check, where the kind allows it. Default true.
    pub reuse_connection: bool,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A request and the status of its answer.
    Http(HttpCheck),
    /// `grpc.health.v1.Health/Check`.
    Grpc(GrpcCheck),
    /// Bytes, and what must come back.
    Tcp(TcpCheck),
    /// `PING`, or `EXISTS key`, which must not exist: an operator takes the host out by setting the key.
    Redis {
        /// The key. Default none: `PING`.
        key: Option<Bytes>,
    },
    /// `hello`, answered with `ok: 1`.
    Mongo,
    /// HAProxy's agent: a line of text, said by a program on the host.
    Agent(AgentCheck),
}

/// `HealthCheck.HttpHealthCheck`.
#[derive(Debug, Clone)]
pub struct HttpCheck {
    /// What is asked for.
    pub path: PathAndQuery,
    /// `Host`, or `:authority`.
    pub host: Authority,
    /// Default `GET`.
    pub method: Method,
    /// `:scheme` of HTTP/2: what the transport is. Default `http`.
    pub scheme: Scheme,
    /// Statuses that pass, both ends included (Envoy's ranges exclude theirs). Default 200 only.
    pub expected: Vec<RangeInclusive<u16>>,
    /// Statuses that fail, but only `unhealthy` of them in a row. Default none: an unexpected status fails at once.
    pub retriable: Vec<RangeInclusive<u16>>,
    /// Added to the request; one named `user-agent` replaces ours. Default none.
    pub headers: HeaderMap,
    /// Default HTTP/1.1.
    pub protocol: HttpProtocol,
}

/// Envoy's `codec_client_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge; the transport has settled it where there is TLS.
    Http2,
}

/// `HealthCheck.GrpcHealthCheck`.
#[derive(Debug, Clone)]
pub struct GrpcCheck {
    /// The service that is asked after; empty for the server as a whole, which is the default.
    pub service: String,
    /// `:authority`.
    pub authority: Authority,
    /// `:scheme`: what the transport is. Default `http`.
    pub scheme: Scheme,
}

/// `HealthCheck.TcpHealthCheck`.
#[derive(Debug, Clone, Default)]
pub struct TcpCheck {
    /// Sent when connected. Default nothing.
    pub send: Bytes,
    /// What must come back: each of them, in this order, with anything in between. Default nothing: connecting passes.
    pub receive: Vec<Bytes>,
}

/// HAProxy's `agent-check`.
#[derive(Debug, Clone)]
pub struct AgentCheck {
    /// Where the agent listens, on the host's address. For the [`super::Connect`] of the caller; not looked at here.
    pub port: u16,
    /// Sent when connected (`agent-send`). Default nothing.
    pub send: Bytes,
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A duration must be longer than nothing.
    #[error("{0} must be longer than 0s")]
    Zero(&'static str),
    /// A number of checks must be at least one.
    #[error("{0} must be at least 1")]
    NoChecks(&'static str),
    /// No status lies in a range, or none that HTTP has.
    #[error("statuses {first} to {last}: a range goes from a lower to a higher status, from 100 to 599")]
    Statuses {
        /// Its beginning.
        first: u16,
        /// Its end.
        last: u16,
    },
    /// What is to be sent or received is more than a check handles.
    #[error("{what} has {bytes} bytes, more than the {limit} that a check handles")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// `CONNECT` asks for a tunnel, not for an answer.
    #[error("a health check cannot use the method CONNECT")]
    Connect,
}

impl Settings {
    /// Envoy's defaults, where it has any, and this product's, where Envoy demands a value.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            interval_jitter: Duration::ZERO,
            interval_jitter_percent: 0,
            initial_jitter: Duration::ZERO,
            healthy: 2,
            unhealthy: 3,
            no_traffic_interval: Duration::from_mins(1),
            no_traffic_healthy_interval: None,
            unhealthy_interval: None,
            unhealthy_edge_interval: None,
            healthy_edge_interval: None,
            reuse_connection: true,
        }
    }

    /// Refuses what cannot have been meant.
    ///
    /// # Errors
    /// Times and thresholds of nothing, ranges without statuses, payloads beyond what a check handles.
    pub fn check(&self) -> Result<(), SettingsError> {
        let times = [
            ("timeout", Some(self.timeout)),
            ("interval", Some(self.interval)),
            ("no_traffic_interval", Some(self.no_traffic_interval)),
            ("no_traffic_healthy_interval", self.no_traffic_healthy_interval),
            ("unhealthy_interval", self.unhealthy_interval),
            ("unhealthy_edge_interval", self.unhealthy_edge_interval),
            ("healthy_edge_interval", self.healthy_edge_interval),
        ];
        if let Some((field, _)) = times.into_iter().find(|(_, time)| time.is_some_and(|time| time.is_zero())) {
            return Err(SettingsError::Zero(field));
        }
        for (field, checks) in [("healthy", self.healthy), ("unhealthy", self.unhealthy)] {
            if checks == 0 {
                return Err(SettingsError::NoChecks(field));
            }
        }
        self.kind.check()
    }
}

impl Kind {
    fn check(&self) -> Result<(), SettingsError> {
        match self {
            Self::Http(http) => http.check(),
            Self::Grpc(grpc) => fits("service", grpc.service.len(), raw::SEND_LIMIT),
            Self::Tcp(tcp) => {
                fits("send", tcp.send.len(), raw::SEND_LIMIT)?;
                let receive = tcp.receive.iter().fold(0_usize, |sum, bytes| sum.saturating_add(bytes.len()));
                fits("receive", receive, raw::RECEIVE_LIMIT)
            }
            Self::Redis { key } => fits("key", key.as_ref().map_or(0, Bytes::len), raw::SEND_LIMIT),
            Self::Mongo => Ok(()),
            Self::Agent(agent) => fits("send", agent.send.len(), raw::SEND_LIMIT),
        }
    }
}

impl HttpCheck {
    /// `GET path`, which must be answered with 200.
    #[must_use]
    pub fn new(path: PathAndQuery, host: Authority) -> Self {
        Self {
            path,
            host,
            method: Method::GET,
            scheme: Scheme::HTTP,
            expected: vec![200..=200],
            retriable: Vec::new(),
            headers: HeaderMap::new(),
            protocol: HttpProtocol::default(),
        }
    }

    fn check(&self) -> Result<(), SettingsError> {
        if self.method == Method::CONNECT {
            return Err(SettingsError::Connect);
        }
        for range in self.expected.iter().chain(&self.retriable) {
            let (first, last) = (*range.start(), *range.end());
            if first < 100 || last > 599 || first > last {
                return Err(SettingsError::Statuses { first, last });
            }
        }
        Ok(())
    }
}

impl GrpcCheck {
    /// Asks after the server as a whole.
    #[must_use]
    pub fn new(authority: Authority) -> Self {
        Self { service: String::new(), authority, scheme: Scheme::HTTP }
    }
}

fn fits(what: &'static str, bytes: usize, limit: usize) -> Result<(), SettingsError> {
    if bytes > limit { Err(SettingsError::TooLong { what, bytes, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> HttpCheck {
        HttpCheck::new(PathAndQuery::from_static("/healthz"), Authority::from_static("users"))
    }

    #[test]
    fn the_defaults_are_accepted() {
        assert_eq!(Settings::new(Kind::Http(http())).check(), Ok(()));
    }

    #[test]
    fn what_cannot_have_been_meant_is_refused_in_words() {
        let words = |settings: &Settings| settings.check().unwrap_err().to_string();
        let zero = Settings { unhealthy_interval: Some(Duration::ZERO), ..Settings::new(Kind::Mongo) };
        assert_eq!(words(&zero), "unhealthy_interval must be longer than 0s");
        let none = Settings { healthy: 0, ..Settings::new(Kind::Mongo) };
        assert_eq!(words(&none), "healthy must be at least 1");
        let range = Settings::new(Kind::Http(HttpCheck { retriable: vec![500..=600], ..http() }));
        assert_eq!(words(&range), "statuses 500 to 600: a range goes from a lower to a higher status, from 100 to 599");
        let connect = Settings::new(Kind::Http(HttpCheck { method: Method::CONNECT, ..http() }));
        assert_eq!(words(&connect), "a health check cannot use the method CONNECT");
        let long = TcpCheck { receive: vec![Bytes::from(vec![0; 70_000])], ..TcpCheck::default() };
        assert_eq!(
            words(&Settings::new(Kind::Tcp(long))),
            "receive has 70000 bytes, more than the 65536 that a check handles"
        );
    }
}
