//! What a worker counts of a cluster.

use std::{cell::RefCell, collections::BTreeMap};

use super::error::Limit;
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
    pub overflows: Overflows,
    pub retries: Retries,
    pub stale_retries: Counter,
    pub no_endpoint: Counter,
    pub leases_active: Gauge,
    pub lease_wait: Histogram,
    pub leases_dirty: Counter,
    pub leases_refused: Words,
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
            overflows: Overflows::new(registry, cluster),
            retries: Retries::new(registry, cluster),
            stale_retries: counter(&names::CLUSTER_STALE_RETRIES),
            no_endpoint: counter(&names::CLUSTER_NO_ENDPOINT),
            leases_active: gauge(&names::CLUSTER_LEASES_ACTIVE),
            lease_wait: registry.histogram(&names::CLUSTER_LEASE_WAIT, &[("cluster", cluster)]),
            leases_dirty: counter(&names::CLUSTER_LEASES_DIRTY),
            leases_refused: Words::new(registry, &names::CLUSTER_LEASES_REFUSED, cluster, "reason"),
        }
    }
}

/// What was refused because of a limit. Registered when there is something to count.
#[derive(Debug)]
pub struct Overflows(Words);

impl Overflows {
    fn new(registry: &Registry, cluster: &str) -> Self {
        Self(Words::new(registry, &names::CLUSTER_OVERFLOWS, cluster, "limit"))
    }

    /// One more.
    pub fn inc(&self, limit: Limit) {
        self.0.inc(limit.label());
    }
}

/// Attempts beyond the first. Registered when there is something to count.
#[derive(Debug)]
pub struct Retries {
    begun: Words,
    refused: Words,
}

impl Retries {
    fn new(registry: &Registry, cluster: &str) -> Self {
        Self {
            begun: Words::new(registry, &names::CLUSTER_RETRIES, cluster, "reason"),
            refused: Words::new(registry, &names::CLUSTER_RETRIES_REFUSED, cluster, "reason"),
        }
    }

    /// One is to begin.
    pub fn begun(&self, reason: &'static str) {
        self.begun.inc(reason);
    }

    /// One was wanted, and there were too many.
    pub fn overflow(&self) {
        self.refused.inc("budget");
    }

    /// One was wanted, and the request's body is no longer there to be sent again.
    pub fn unrepeatable(&self) {
        self.refused.inc("body");
    }

    /// One was wanted, and the policy allows no more.
    pub fn exhausted(&self) {
        self.refused.inc("attempts");
    }
}

/// Counters of one metric by a word out of few.
#[derive(Debug)]
pub struct Words {
    registry: Registry,
    metric: &'static names::Metric,
    cluster: String,
    label: &'static str,
    counters: RefCell<BTreeMap<&'static str, Counter>>,
}

impl Words {
    fn new(registry: &Registry, metric: &'static names::Metric, cluster: &str, label: &'static str) -> Self {
        let (registry, cluster) = (registry.clone(), cluster.to_owned());
        Self { registry, metric, cluster, label, counters: RefCell::default() }
    }

    /// One more of a word.
    pub fn inc(&self, word: &'static str) {
        let mut counters = self.counters.borrow_mut();
        let counter = counters
            .entry(word)
            .or_insert_with(|| self.registry.counter(self.metric, &[("cluster", &self.cluster), (self.label, word)]));
        counter.inc();
    }
}
