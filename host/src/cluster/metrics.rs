//! What a worker counts of a cluster.

use crate::telemetry::{
    names,
    registry::{Counter, Gauge, Histogram, Registry},
};

/// What a worker counts of a cluster.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is one metric of telemetry::names")]
pub struct ClusterMetrics {
    pub classes: [Counter; 5],
    pub reset: Counter,
    pub timeout: Counter,
    pub unreachable: Counter,
    pub active: Gauge,
    pub duration: Histogram,
    pub connections: Counter,
    pub connections_active: Gauge,
    pub idle: Gauge,
    pub pending: Gauge,
    pub connect_failures: Counter,
    pub connect_timeouts: Counter,
    pub overflows: Counter,
    pub stale_retries: Counter,
    pub no_endpoint: Counter,
}

impl ClusterMetrics {
    /// Registers a cluster's metrics for a worker.
    #[must_use]
    pub fn new(registry: &Registry, cluster: &str) -> Self {
        let class = |class| registry.counter(&names::CLUSTER_REQUESTS, &[("cluster", cluster), ("class", class)]);
        let counter = |metric| registry.counter(metric, &[("cluster", cluster)]);
        let gauge = |metric| registry.gauge(metric, &[("cluster", cluster)]);
        Self {
            classes: [class("1xx"), class("2xx"), class("3xx"), class("4xx"), class("5xx")],
            reset: class("reset"),
            timeout: class("timeout"),
            unreachable: class("unreachable"),
            active: gauge(&names::CLUSTER_REQUESTS_ACTIVE),
            duration: registry.histogram(&names::CLUSTER_REQUEST_DURATION, &[("cluster", cluster)]),
            connections: counter(&names::CLUSTER_CONNECTIONS),
            connections_active: gauge(&names::CLUSTER_CONNECTIONS_ACTIVE),
            idle: gauge(&names::CLUSTER_CONNECTIONS_IDLE),
            pending: gauge(&names::CLUSTER_PENDING),
            connect_failures: counter(&names::CLUSTER_CONNECT_FAILURES),
            connect_timeouts: counter(&names::CLUSTER_CONNECT_TIMEOUTS),
            overflows: registry.counter(&names::CLUSTER_OVERFLOWS, &[("cluster", cluster), ("limit", "connections")]),
            stale_retries: counter(&names::CLUSTER_STALE_RETRIES),
            no_endpoint: counter(&names::CLUSTER_NO_ENDPOINT),
        }
    }
}
