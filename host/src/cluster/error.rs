//! Why a cluster could not lend a connection.

use std::{io, net::SocketAddr, time::Duration};

/// No request was sent: every one of these is safe to try again elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster has no endpoint.
    #[error("cluster \"{cluster}\" has no endpoints")]
    NoEndpoint {
        /// Its name.
        cluster: String,
    },
    /// All connections that the pool may have are in use, and none came free in time.
    #[error(
        "all {limit} connections to cluster \"{cluster}\" were in use for {waited:?}; raise `pool.connections` or look for slow endpoints"
    )]
    PoolExhausted {
        /// Its name.
        cluster: String,
        /// `pool.connections`
        limit: usize,
        /// How long was waited.
        waited: Duration,
    },
    /// Connecting took longer than `connect_timeout`.
    #[error("no connection to {address} within {timeout:?}")]
    ConnectTimeout {
        /// The endpoint.
        address: SocketAddr,
        /// `connect_timeout`
        timeout: Duration,
    },
    /// The endpoint refused, or cannot be reached.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// The endpoint.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// TLS with the endpoint failed.
    #[error("TLS with {address} failed: {error}")]
    Tls {
        /// The endpoint.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The HTTP connection could not be set up.
    #[error("HTTP with {address} failed: {error}")]
    Handshake {
        /// The endpoint.
        address: SocketAddr,
        /// Why.
        error: hyper::Error,
    },
}

impl ClusterError {
    /// Stable word for metrics and `response.code_details`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoEndpoint { .. } => "no_endpoint",
            Self::PoolExhausted { .. } => "upstream_pool_exhausted",
            Self::ConnectTimeout { .. } => "upstream_connect_timeout",
            Self::Connect { .. } => "upstream_connect_failure",
            Self::Tls { .. } => "upstream_tls_failure",
            Self::Handshake { .. } => "upstream_handshake_failure",
        }
    }
}
