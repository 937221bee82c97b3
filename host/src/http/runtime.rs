//! What a listener's streams need on one worker.

use std::{any::Any, rc::Rc, sync::Arc};

use crate::{
    config::resolved::{ListenerLimits, Target},
    filter::chain::Chain,
    listener::{overload::Flags, tasks::Tasks},
    telemetry::{
        names,
        registry::{Counter, Gauge, Histogram, Registry},
    },
    wasm::env::Env,
};

/// A chain of a listener on one worker, in one generation.
#[derive(Debug)]
pub struct ListenerRuntime {
    /// Surroundings of its filters.
    pub env: Rc<Env>,
    /// Its filters.
    pub chain: Chain,
    /// Where requests go when no filter says otherwise.
    pub target: Target,
    /// Most endpoints that are tried for a TCP connection.
    pub connect_attempts: usize,
    /// Its limits.
    pub limits: ListenerLimits,
    /// What is counted of it.
    pub metrics: Rc<ListenerMetrics>,
    /// Where its connections and tunnels run.
    pub tasks: Rc<Tasks>,
    /// What to do less of.
    pub overload: Arc<Flags>,
    /// What lives until its last stream has ended.
    pub keeps: Rc<dyn Any>,
}

/// What a worker counts of a listener.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is one metric of telemetry::names")]
pub struct ListenerMetrics {
    pub accepted: Counter,
    pub active: Gauge,
    pub refused_limit: Counter,
    pub refused_tls: Counter,
    pub refused_proxy_protocol: Counter,
    pub refused_no_chain: Counter,
    pub shed: Counter,
    pub classes: [Counter; 5],
    pub reset: Counter,
    pub requests_active: Gauge,
    pub duration: Histogram,
    pub received: Counter,
    pub sent: Counter,
    pub header_timeouts: Counter,
    pub idle_timeouts: Counter,
    pub malformed: Counter,
    pub too_large: Counter,
    pub resets: Counter,
    pub worker_streams: Counter,
    pub worker_active: Gauge,
    pub worker_connections: Gauge,
}

impl ListenerMetrics {
    /// Registers a listener's metrics for a worker.
    #[must_use]
    pub fn new(registry: &Registry, listener: &str, worker: usize) -> Self {
        let worker = worker.to_string();
        let counter = |metric| registry.counter(metric, &[("listener", listener)]);
        let refused = |reason| {
            registry.counter(&names::LISTENER_CONNECTIONS_REFUSED, &[("listener", listener), ("reason", reason)])
        };
        let class = |class| registry.counter(&names::LISTENER_REQUESTS, &[("listener", listener), ("class", class)]);
        let broken =
            |reason| registry.counter(&names::LISTENER_PROTOCOL_ERRORS, &[("listener", listener), ("reason", reason)]);
        Self {
            accepted: counter(&names::LISTENER_CONNECTIONS),
            active: registry.gauge(&names::LISTENER_CONNECTIONS_ACTIVE, &[("listener", listener)]),
            refused_limit: refused("limit"),
            refused_tls: refused("tls"),
            refused_proxy_protocol: refused("proxy_protocol"),
            refused_no_chain: refused("no_chain"),
            shed: counter(&names::LISTENER_REQUESTS_SHED),
            classes: [class("1xx"), class("2xx"), class("3xx"), class("4xx"), class("5xx")],
            reset: class("reset"),
            requests_active: registry.gauge(&names::LISTENER_REQUESTS_ACTIVE, &[("listener", listener)]),
            duration: registry.histogram(&names::LISTENER_REQUEST_DURATION, &[("listener", listener)]),
            received: counter(&names::LISTENER_RECEIVED),
            sent: counter(&names::LISTENER_SENT),
            header_timeouts: counter(&names::LISTENER_HEADER_TIMEOUTS),
            idle_timeouts: counter(&names::LISTENER_IDLE_TIMEOUTS),
            malformed: broken("malformed"),
            too_large: broken("too_large"),
            resets: broken("resets"),
            worker_streams: registry.counter(&names::WORKER_STREAMS, &[("worker", &worker)]),
            worker_active: registry.gauge(&names::WORKER_STREAMS_ACTIVE, &[("worker", &worker)]),
            worker_connections: registry.gauge(&names::WORKER_CONNECTIONS_ACTIVE, &[("worker", &worker)]),
        }
    }
}
