//! Why a cluster could not lend a connection.

use std::{io, net::SocketAddr, time::Duration};

use crate::config::resolved::Thresholds;

/// No request was sent: every one of these is safe to try again elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster has no endpoint that the request may go to.
    #[error("no endpoint of cluster \"{cluster}\": {why}")]
    NoEndpoint {
        /// Its name.
        cluster: String,
        /// Why.
        why: String,
    },
    /// As much of the cluster is in use as may be.
    #[error("{}", overflow(cluster, *limit, *most, *waited))]
    Overflow {
        /// Its name.
        cluster: String,
        /// Which limit.
        limit: Limit,
        /// Its value.
        most: usize,
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
            Self::Overflow { limit: Limit::Connections, .. } => "upstream_pool_exhausted",
            Self::Overflow { limit: Limit::ConnectionsPerEndpoint, .. } => "upstream_endpoint_connections_exceeded",
            Self::Overflow { limit: Limit::Pending, .. } => "upstream_pending_overflow",
            Self::Overflow { limit: Limit::Requests, .. } => "upstream_requests_exceeded",
            Self::ConnectTimeout { .. } => "upstream_connect_timeout",
            Self::Connect { .. } => "upstream_connect_failure",
            Self::Tls { .. } => "upstream_tls_failure",
            Self::Handshake { .. } => "upstream_handshake_failure",
        }
    }

    /// The endpoint that it happened at, where there was one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::ConnectTimeout { address, .. }
            | Self::Connect { address, .. }
            | Self::Tls { address, .. }
            | Self::Handshake { address, .. } => Some(*address),
            Self::NoEndpoint { .. } | Self::Overflow { .. } => None,
        }
    }
}

/// A limit of `circuit_breakers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `connections`
    Connections,
    /// `connections_per_endpoint`
    ConnectionsPerEndpoint,
    /// `pending`
    Pending,
    /// `requests`
    Requests,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connections, Self::ConnectionsPerEndpoint, Self::Pending, Self::Requests];

    /// Its key, which is the word for metrics too.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerEndpoint => "connections_per_endpoint",
            Self::Pending => "pending",
            Self::Requests => "requests",
        }
    }

    /// Its value.
    #[must_use]
    pub fn of(self, limits: &Thresholds) -> usize {
        let number = match self {
            Self::Connections => return limits.connections,
            Self::ConnectionsPerEndpoint => limits.connections_per_endpoint,
            Self::Pending => limits.pending,
            Self::Requests => limits.requests,
        };
        usize::try_from(number).unwrap_or(usize::MAX)
    }
}

fn overflow(cluster: &str, limit: Limit, most: usize, waited: Duration) -> String {
    let key = limit.label();
    match limit {
        Limit::Connections => format!(
            "all {most} connections to cluster \"{cluster}\" were in use for {waited:?}; raise `circuit_breakers.{key}` or look for slow endpoints"
        ),
        Limit::ConnectionsPerEndpoint => format!(
            "an endpoint of cluster \"{cluster}\" has {most} connections, as many as it may; raise `circuit_breakers.{key}` or look for slow endpoints"
        ),
        Limit::Pending => format!(
            "{most} requests wait for a connection to cluster \"{cluster}\" already; raise `circuit_breakers.{key}` or look for slow endpoints"
        ),
        Limit::Requests => format!(
            "{most} requests to cluster \"{cluster}\" are under way already; raise `circuit_breakers.{key}` or look for slow endpoints"
        ),
    }
}
