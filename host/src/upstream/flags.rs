//! `response.flags`: Envoy's bits for what became of a stream (`CoreResponseFlag` of Envoy 1.40), read off `response.code_details`.

/// Bits, in Envoy's order.
mod bit {
    pub const NO_HEALTHY_UPSTREAM: u64 = 1 << 1;
    pub const UPSTREAM_REQUEST_TIMEOUT: u64 = 1 << 2;
    pub const LOCAL_RESET: u64 = 1 << 3;
    pub const UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
    pub const UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
    pub const UPSTREAM_OVERFLOW: u64 = 1 << 7;
    pub const NO_ROUTE_FOUND: u64 = 1 << 8;
    pub const FAULT_INJECTED: u64 = 1 << 10;
    pub const RATE_LIMITED: u64 = 1 << 11;
    pub const UNAUTHORIZED_EXTERNAL_SERVICE: u64 = 1 << 12;
    pub const RATE_LIMIT_SERVICE_ERROR: u64 = 1 << 13;
    pub const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 1 << 14;
    pub const UPSTREAM_RETRY_LIMIT_EXCEEDED: u64 = 1 << 15;
    pub const STREAM_IDLE_TIMEOUT: u64 = 1 << 16;
    pub const DOWNSTREAM_PROTOCOL_ERROR: u64 = 1 << 18;
    pub const UPSTREAM_PROTOCOL_ERROR: u64 = 1 << 23;
    pub const NO_CLUSTER_FOUND: u64 = 1 << 24;
    pub const OVERLOAD_MANAGER: u64 = 1 << 25;
}

/// Whether another attempt was wanted in the end, and not made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Further {
    /// None was wanted.
    #[default]
    Unwanted,
    /// The policy had none left.
    Exhausted,
    /// The cluster's limit of retries did not allow it.
    Refused,
}

/// The flags of a cause, and of what else might have been done. An answer of the upstream's has none, nor has one of a filter's own, but for those that say so in
/// the words of the standard filters.
#[must_use]
pub fn of(details: &str, further: Further) -> u64 {
    let flag = match details {
        "no_endpoint" => bit::NO_HEALTHY_UPSTREAM,
        "upstream_timeout" | "upstream_per_try_timeout" => bit::UPSTREAM_REQUEST_TIMEOUT,
        "closed_by_filter" | "response_too_large" | "buffer_overflow" => bit::LOCAL_RESET,
        "upstream_connect_timeout"
        | "upstream_connect_failure"
        | "upstream_tls_failure"
        | "upstream_handshake_failure" => bit::UPSTREAM_CONNECTION_FAILURE,
        "upstream_reset" | "upstream_refused_stream" | "upstream_reset_after_response" => {
            bit::UPSTREAM_CONNECTION_TERMINATION
        }
        "upstream_pool_exhausted"
        | "upstream_endpoint_connections_exceeded"
        | "upstream_pending_overflow"
        | "upstream_requests_exceeded" => bit::UPSTREAM_OVERFLOW,
        "route_not_found" | "not_routed" => bit::NO_ROUTE_FOUND,
        "downstream_disconnected" | "downstream_reset" => bit::DOWNSTREAM_CONNECTION_TERMINATION,
        "fault_filter_abort" => bit::FAULT_INJECTED,
        "rate_limited" | "rate_limit_queue_full" => bit::RATE_LIMITED,
        "rate_limit_error" => bit::RATE_LIMIT_SERVICE_ERROR,
        "ext_authz_denied" | "ext_authz_error" => bit::UNAUTHORIZED_EXTERNAL_SERVICE,
        "stream_idle_timeout" => bit::STREAM_IDLE_TIMEOUT,
        "downstream_body_error" => bit::DOWNSTREAM_PROTOCOL_ERROR,
        "upstream_protocol_error" | "unexpected_upgrade" | "upgrade_not_made" | "upstream_no_extended_connect" => {
            bit::UPSTREAM_PROTOCOL_ERROR
        }
        "cluster_not_found" => bit::NO_CLUSTER_FOUND,
        "overload_shed" => bit::OVERLOAD_MANAGER,
        _ => 0,
    };
    match further {
        Further::Unwanted => flag,
        Further::Exhausted => flag | bit::UPSTREAM_RETRY_LIMIT_EXCEEDED,
        Further::Refused => flag | bit::UPSTREAM_OVERFLOW,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        cluster::{ClusterError, error::Limit},
        upstream::UpstreamError,
    };

    #[test]
    fn every_failure_of_an_upstream_has_a_flag() {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let cluster = || "c".to_owned();
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let overflow = |limit| ClusterError::Overflow { cluster: cluster(), limit, most: 1, waited: Duration::ZERO };
        let errors: [(UpstreamError, u64); 12] = [
            (ClusterError::NoEndpoint { cluster: cluster(), why: String::new() }.into(), 1 << 1),
            (UpstreamError::PerTryTimeout { address: None, timeout: Duration::ZERO }, 1 << 2),
            (UpstreamError::Timeout { timeout: Duration::ZERO }, 1 << 2),
            (ClusterError::Connect { address, error: refused() }.into(), 1 << 5),
            (ClusterError::Tls { address, error: refused() }.into(), 1 << 5),
            (ClusterError::ConnectTimeout { address, timeout: Duration::ZERO }.into(), 1 << 5),
            (overflow(Limit::Connections).into(), 1 << 7),
            (overflow(Limit::ConnectionsPerEndpoint).into(), 1 << 7),
            (overflow(Limit::Pending).into(), 1 << 7),
            (overflow(Limit::Requests).into(), 1 << 7),
            (UpstreamError::NotRouted, 1 << 8),
            (UpstreamError::UnknownCluster { cluster: cluster() }, 1 << 24),
        ];
        for (error, flag) in errors {
            assert_eq!(of(error.label(), Further::Unwanted), flag, "{error}");
        }
        assert_eq!(of("overload_shed", Further::Unwanted), 1 << 25);
        let answered =
            [Further::Unwanted, Further::Exhausted, Further::Refused].map(|further| of("via_upstream", further));
        assert_eq!(answered, [0, 1 << 15, 1 << 7]);
    }
}
