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
            Self::Timeout { .. } => "upstream_timeout",
            Self::UnknownCluster { .. } => "cluster_not_found",
            Self::NotRouted => "not_routed",
        }
    }
}
