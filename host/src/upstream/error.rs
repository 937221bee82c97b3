//! Why an upstream gave no answer.

use crate::cluster::ClusterError;

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The connection broke before the answer's head was complete.
    #[error("the connection to {address} ended before it answered: {error}")]
    Reset {
        /// The endpoint.
        address: std::net::SocketAddr,
        /// Why.
        error: hyper::Error,
    },
    /// What came back was not HTTP.
    #[error("{address} answered with something that is not HTTP: {error}")]
    Protocol {
        /// The endpoint.
        address: std::net::SocketAddr,
        /// Why.
        error: hyper::Error,
    },
    /// An HTTP/2 endpoint says that it has not looked at the request (RFC 9113, section 8.7): another attempt is safe.
    #[error("{address} refused the stream: {error}")]
    Refused {
        /// The endpoint.
        address: std::net::SocketAddr,
        /// Why.
        error: hyper::Error,
    },
    /// An upgrade that an HTTP/2 endpoint cannot be asked for.
    #[error(
        "{address} speaks HTTP/2, and its SETTINGS do not allow extended CONNECT (RFC 8441): it cannot be asked for another protocol; use `protocol: http1`, if it speaks that"
    )]
    NoExtendedConnect {
        /// The endpoint.
        address: std::net::SocketAddr,
    },
    /// The time of one attempt.
    #[error("no answer within {timeout:?}, the time of one attempt (per_try_timeout){}", at(*address))]
    PerTryTimeout {
        /// The endpoint, if there was a connection.
        address: Option<std::net::SocketAddr>,
        /// `per_try_timeout`
        timeout: std::time::Duration,
    },
    /// The request's own body failed: the client went away or broke the protocol.
    #[error("the request's body ended early: {error}")]
    RequestBody {
        /// Why.
        error: hyper::Error,
    },
    /// The route's timeout.
    #[error("no answer within {timeout:?}")]
    Timeout {
        /// The timeout.
        timeout: std::time::Duration,
    },
    /// The route's idle timeout.
    #[error("nothing has moved for {timeout:?}, the route's idle_timeout")]
    Idle {
        /// The timeout.
        timeout: std::time::Duration,
    },
    /// The decision names a cluster that does not exist.
    #[error("there is no cluster \"{cluster}\"")]
    UnknownCluster {
        /// The name.
        cluster: String,
    },
    /// No filter chose a cluster and the listener has none.
    #[error("no filter chose a cluster and the listener has none; add a router, or `cluster:` to the listener")]
    NotRouted,
}

impl UpstreamError {
    /// Stable word for metrics and `response.code_details`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Cluster(error) => error.label(),
            Self::Reset { .. } => "upstream_reset",
            Self::Protocol { .. } => "upstream_protocol_error",
            Self::RequestBody { .. } => "downstream_body_error",
            Self::Refused { .. } => "upstream_refused_stream",
            Self::NoExtendedConnect { .. } => "upstream_no_extended_connect",
            Self::PerTryTimeout { .. } => "upstream_per_try_timeout",
            Self::Timeout { .. } => "upstream_timeout",
            Self::Idle { .. } => "stream_idle_timeout",
            Self::UnknownCluster { .. } => "cluster_not_found",
            Self::NotRouted => "not_routed",
        }
    }

    /// The endpoint that it happened at, where there was one.
    #[must_use]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Cluster(error) => error.address(),
            Self::Reset { address, .. }
            | Self::Protocol { address, .. }
            | Self::Refused { address, .. }
            | Self::NoExtendedConnect { address } => Some(*address),
            Self::PerTryTimeout { address, .. } => *address,
            Self::RequestBody { .. }
            | Self::Timeout { .. }
            | Self::Idle { .. }
            | Self::UnknownCluster { .. }
            | Self::NotRouted => None,
        }
    }
}

fn at(address: Option<std::net::SocketAddr>) -> String {
    address.map_or_else(|| "; no connection either".to_owned(), |address| format!(", from {address}"))
}
