//! Every metric of the proxy: name, help, kind and label names, once.
//!
//! The emitter, the UI and the tests read these constants. Names follow Prometheus: prefix `fyke_`, base units (seconds, bytes),
//! `_total` on counters. Label values are few and stable: names from the configuration, or words from a fixed set.

use super::histogram::Buckets;

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// One line for `# HELP`.
    pub help: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// Names of its labels, all of which every series has.
    pub labels: &'static [&'static str],
}

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Only rises; counted in nanoseconds ([`super::Counter::add_time`]), exposed in seconds.
    Time,
    /// Rises and falls.
    Gauge,
    /// Observations in buckets.
    Histogram(Buckets),
}

impl Kind {
    /// The word for `# TYPE`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter | Self::Time => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

const SECONDS: Kind = Kind::Histogram(Buckets::Seconds);
const COUNTER: Kind = Kind::Counter;
const TIME: Kind = Kind::Time;
const GAUGE: Kind = Kind::Gauge;

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric { name: $name, help: $help, kind: $kind, labels: &[$($label),*] };
        )*
        /// All of them, in the order of this file.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    // Listeners.
    LISTENER_CONNECTIONS: COUNTER "fyke_listener_connections_accepted_total" ["listener"] "Downstream connections accepted.";
    LISTENER_CONNECTIONS_ACTIVE: GAUGE "fyke_listener_connections_active" ["listener"] "Downstream connections open now.";
    LISTENER_CONNECTIONS_REFUSED: COUNTER "fyke_listener_connections_refused_total" ["listener", "reason"] "Downstream connections closed unserved, by reason (limit, tls, proxy_protocol, no_chain).";
    LISTENER_REQUESTS: COUNTER "fyke_listener_requests_total" ["listener", "class"] "Requests finished, by class of their answer (1xx to 5xx, or reset).";
    LISTENER_REQUESTS_ACTIVE: GAUGE "fyke_listener_requests_active" ["listener"] "Requests being served now.";
    LISTENER_REQUESTS_SHED: COUNTER "fyke_listener_requests_shed_total" ["listener"] "Requests answered with 503 because the process is overloaded.";
    LISTENER_REQUEST_DURATION: SECONDS "fyke_listener_request_duration_seconds" ["listener"] "From the end of a request's head to the last byte of its answer.";
    LISTENER_CLUSTER_REQUESTS: COUNTER "fyke_listener_cluster_requests_total" ["listener", "cluster", "outcome"] "Requests of the listener, or its TCP connections, that went to the cluster, by outcome (answered; failed: with 5xx, or not at all).";
    LISTENER_CLUSTER_TIME: TIME "fyke_listener_cluster_seconds_total" ["listener", "cluster"] "How long all of these took together: requests from the choice of an endpoint to the last byte, connections until they stood.";
    LISTENER_RECEIVED: COUNTER "fyke_listener_received_bytes_total" ["listener"] "Bytes read from downstream connections.";
    LISTENER_SENT: COUNTER "fyke_listener_sent_bytes_total" ["listener"] "Bytes written to downstream connections.";
    LISTENER_HEADER_TIMEOUTS: COUNTER "fyke_listener_header_timeouts_total" ["listener"] "Connections closed because a request's head took too long.";
    LISTENER_IDLE_TIMEOUTS: COUNTER "fyke_listener_idle_timeouts_total" ["listener"] "Connections closed because they were idle for too long.";
    LISTENER_PROTOCOL_ERRORS: COUNTER "fyke_listener_protocol_errors_total" ["listener", "reason"] "Requests or connections refused because they broke the protocol or a limit of it.";

    // Clusters.
    CLUSTER_REQUESTS: COUNTER "fyke_cluster_requests_total" ["cluster", "class"] "Upstream requests finished, by class of their answer (1xx to 5xx, reset, timeout, or unreachable).";
    CLUSTER_REQUESTS_ACTIVE: GAUGE "fyke_cluster_requests_active" ["cluster"] "Upstream requests in flight now.";
    CLUSTER_REQUEST_DURATION: SECONDS "fyke_cluster_request_duration_seconds" ["cluster"] "From the choice of an endpoint to the last byte of its answer.";
    CLUSTER_CONNECTIONS: COUNTER "fyke_cluster_connections_total" ["cluster"] "Upstream connections opened.";
    CLUSTER_CONNECTIONS_ACTIVE: GAUGE "fyke_cluster_connections_active" ["cluster"] "Upstream connections open now, idle ones included.";
    CLUSTER_CONNECTIONS_IDLE: GAUGE "fyke_cluster_pool_idle" ["cluster"] "Upstream connections waiting in a pool now.";
    CLUSTER_PENDING: GAUGE "fyke_cluster_pending_requests" ["cluster"] "Requests waiting for an upstream connection now.";
    CLUSTER_CONNECT_FAILURES: COUNTER "fyke_cluster_connect_failures_total" ["cluster"] "Upstream connections that could not be opened.";
    CLUSTER_CONNECT_TIMEOUTS: COUNTER "fyke_cluster_connect_timeouts_total" ["cluster"] "Upstream connections that took too long to open.";
    CLUSTER_OVERFLOWS: COUNTER "fyke_cluster_overflows_total" ["cluster", "limit"] "Requests refused by a limit of the cluster (connections, connections_per_endpoint, pending, requests).";
    CLUSTER_STALE_RETRIES: COUNTER "fyke_cluster_stale_connection_retries_total" ["cluster"] "Requests sent again because a pooled connection had been closed by the endpoint.";
    CLUSTER_RETRIES: COUNTER "fyke_cluster_retries_total" ["cluster", "reason"] "Requests sent again because a route's policy said so.";
    CLUSTER_RETRIES_REFUSED: COUNTER "fyke_cluster_retries_refused_total" ["cluster", "reason"] "Further attempts that a route's policy wanted and that were not made, by reason (attempts, budget, body).";
    CLUSTER_NO_ENDPOINT: COUNTER "fyke_cluster_no_endpoint_total" ["cluster"] "Requests for which the cluster had no endpoint.";
    CLUSTER_LEASES_ACTIVE: GAUGE "fyke_cluster_leases_active" ["cluster"] "Upstream connections that filters have borrowed now.";
    CLUSTER_LEASE_WAIT: SECONDS "fyke_cluster_lease_wait_seconds" ["cluster"] "How long filters have waited for an upstream connection that they borrowed.";
    CLUSTER_LEASES_REFUSED: COUNTER "fyke_cluster_leases_refused_total" ["cluster", "reason"] "Upstream connections that filters asked for and did not get (no_endpoint, full, timeout, connect, handshake).";
    CLUSTER_LEASES_DIRTY: COUNTER "fyke_cluster_leases_dirty_total" ["cluster"] "Borrowed upstream connections that were closed because something was left on them when they were given back.";
    CLUSTER_ENDPOINTS: GAUGE "fyke_cluster_endpoints" ["cluster", "health"] "Endpoints, by health (healthy, degraded, draining, unhealthy); ejected ones are unhealthy too.";
    CLUSTER_CHECKS: COUNTER "fyke_cluster_health_checks_total" ["cluster", "outcome"] "Active health checks, by outcome (passed, failed).";
    CLUSTER_DISCOVERY: COUNTER "fyke_cluster_discovery_total" ["cluster", "outcome"] "Questions to where the cluster's endpoints are found, by outcome (updated, unchanged, empty, malformed, unreachable); only the first two change anything or confirm it.";
    CLUSTER_DISCOVERY_AGE: GAUGE "fyke_cluster_discovery_age_seconds" ["cluster"] "Since the last answer of where the cluster's endpoints are found.";
    CLUSTER_OUTLIERS: COUNTER "fyke_cluster_outliers_detected_total" ["cluster", "reason"] "Endpoints that were found to be outliers, by reason, ejected or not.";
    CLUSTER_EJECTIONS: COUNTER "fyke_cluster_ejections_total" ["cluster", "reason"] "Endpoints that were ejected as outliers, by reason.";
    CLUSTER_LIMIT_REMAINING: GAUGE "fyke_cluster_circuit_breaker_remaining" ["cluster", "priority", "limit"] "What is left of a limit of the cluster (connections, requests, pending, retries).";
    CLUSTER_SENT: COUNTER "fyke_cluster_sent_bytes_total" ["cluster"] "Bytes written to upstream connections.";
    CLUSTER_RECEIVED: COUNTER "fyke_cluster_received_bytes_total" ["cluster"] "Bytes read from upstream connections.";

    // Filters.
    FILTER_STREAMS: COUNTER "fyke_filter_streams_total" ["filter"] "Streams that the filter saw.";
    FILTER_CALLS: COUNTER "fyke_filter_calls_total" ["filter"] "Calls into the filter for streams.";
    FILTER_CPU: SECONDS "fyke_filter_call_cpu_seconds" ["filter"] "Processor time of a call into the filter, one of 128 sampled.";
    FILTER_TRAPS: COUNTER "fyke_filter_traps_total" ["filter", "reason"] "Calls that ended in a trap, by reason (unreachable, deadline, memory, exit, bad_pointer, other).";
    FILTER_INSTANCES: GAUGE "fyke_filter_instances" ["filter"] "Instances alive now.";
    FILTER_EXPIRED: COUNTER "fyke_filter_generations_expired_total" ["filter"] "Old generations of a filter whose streams were ended, because too many newer ones came.";
    FILTER_INSTANCES_REPLACED: COUNTER "fyke_filter_instances_replaced_total" ["filter"] "Instances replaced after a trap.";
    FILTER_REPLACEMENT: SECONDS "fyke_filter_instance_replacement_seconds" ["filter"] "From a trap to another instance in place of the one that trapped, which streams that come meanwhile wait for.";
    FILTER_INSTANCES_RECYCLED: COUNTER "fyke_filter_instances_recycled_total" ["filter"] "Instances replaced because they had come close to their memory limit.";
    FILTER_MEMORY: GAUGE "fyke_filter_memory_bytes" ["filter"] "Linear memory of the instances alive now.";
    FILTER_LOCAL_REPLIES: COUNTER "fyke_filter_local_replies_total" ["filter"] "Streams that the filter answered itself.";
    FILTER_FAILED_STREAMS: COUNTER "fyke_filter_failed_streams_total" ["filter", "policy"] "Streams that a trap or a missing instance reached, by what was done (close, open).";
    FILTER_CALLOUTS: COUNTER "fyke_filter_callouts_total" ["filter"] "Calls that the filter made to clusters.";
    FILTER_CALLOUTS_FAILED: COUNTER "fyke_filter_callouts_failed_total" ["filter"] "Calls to clusters that ended without an answer.";
    FILTER_DENIED: COUNTER "fyke_filter_denied_calls_total" ["filter", "capability"] "Hostcalls that the filter made without the grant for them, by key of `allow`.";
    FILTER_CANARIES_ROLLED_BACK: COUNTER "fyke_filter_canaries_rolled_back_total" ["filter"] "Canaries that were taken back because they were worse than the version before.";
    FILTER_MODULE_FAILURES: COUNTER "fyke_filter_module_failures_total" ["filter", "reason"] "Modules that could not be read, by reason (unreachable, timeout, status, unauthorized, not_found, too_large, digest, signature, manifest, tls, redirect, file; last_good: a copy stood in).";
    FILTER_BREAKER: GAUGE "fyke_filter_breaker_open" ["filter"] "Workers on which the filter's instances trap too often to be replaced now.";

    // Workers.
    WORKER_CONNECTIONS_ACTIVE: GAUGE "fyke_worker_connections_active" ["worker"] "Downstream connections of the worker now.";
    WORKER_STREAMS_ACTIVE: GAUGE "fyke_worker_streams_active" ["worker"] "Streams of the worker now.";
    WORKER_STREAMS: COUNTER "fyke_worker_streams_total" ["worker"] "Streams that the worker began.";
    WORKER_CPU: TIME "fyke_worker_cpu_seconds_total" ["worker"] "Processor time of the worker's thread.";
    WORKER_LOOP: SECONDS "fyke_worker_loop_busy_seconds" ["worker"] "Time from when the worker's loop had something to do until it waited again.";

    // The process.
    PROCESS_START: GAUGE "fyke_process_start_time_seconds" [] "When the process started, in seconds since 1970.";
    PROCESS_GENERATION: GAUGE "fyke_process_generation" [] "The generation that new streams begin on.";
    PROCESS_RELOADS: COUNTER "fyke_process_reloads_total" ["outcome"] "Attempts to change the configuration, by outcome (applied, refused, rolled_back).";
    PROCESS_BUILD: GAUGE "fyke_process_build_info" ["version", "commit"] "Always 1; the labels say what runs.";
    OVERLOAD_ACTIVE: GAUGE "fyke_overload_active" ["action"] "How far an action against overload is taken, in percent (stop_accepting, disable_keep_alive, shed_requests).";
    OVERLOAD_PRESSURE: GAUGE "fyke_overload_pressure" ["resource"] "How much of a limit of the process is used, in percent (memory, connections).";
    PROCESS_MEMORY: GAUGE "fyke_process_resident_memory_bytes" [] "Resident memory.";
    PROCESS_MEMORY_LIMIT: GAUGE "fyke_process_memory_limit_bytes" [] "Most resident memory that is used without resistance; 0: no limit.";
    PROCESS_CONNECTIONS_LIMIT: GAUGE "fyke_process_connections_limit" [] "Most downstream connections that the process accepts.";

    // Sinks.
    SINK_RECORDS: COUNTER "fyke_sink_records_total" ["sink"] "Records written.";
    SINK_DROPPED: COUNTER "fyke_sink_dropped_records_total" ["sink", "reason"] "Records dropped, by reason (full, error, closed).";
    SINK_BYTES: COUNTER "fyke_sink_written_bytes_total" ["sink"] "Bytes written.";

    // Exports.
    EXPORT_RECORDS: COUNTER "fyke_export_records_total" ["signal", "outcome"] "Records for a collector, by signal (traces) and what became of them (exported, rejected by it, or dropped: queue_full, bytes, failed, shutdown).";
    EXPORT_REQUESTS: COUNTER "fyke_export_requests_total" ["signal", "outcome"] "Requests to a collector: all that were sent, and those that failed, by reason.";

    // The admin endpoint.
    ADMIN_STREAMS: GAUGE "fyke_admin_streams_open" ["stream"] "Streams of the admin endpoint that are open now (events, live, tap).";
    ADMIN_STREAMS_DROPPED: COUNTER "fyke_admin_streams_dropped_total" ["stream"] "Streams of the admin endpoint that were ended because nobody read them fast enough.";

    // Control planes.
    CONTROL_PLANE_ON_DEMAND: COUNTER "fyke_control_plane_on_demand_total" ["control_plane", "outcome"] "Requests and connections that needed a cluster which was not there, by what became of asking for it (came, missing, timeout; refused: a name that nobody can mean, or too many).";

    // Metrics about metrics.
    SERIES_OVERFLOWS: COUNTER "fyke_metrics_series_overflow_total" [] "Registrations that were sent to an overflow series because there were too many.";
    FILTER_METRICS_OVERFLOWS: COUNTER "fyke_filter_metrics_overflow_total" [] "Definitions of metrics by filters that were sent to an overflow metric because there were too many.";
    FILTER_SERIES_OVERFLOWS: COUNTER "fyke_filter_series_overflow_total" [] "Records of filters' labelled metrics that went to a series of overflow because there were too many.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_follow_prometheus() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("fyke_"));
            assert!(metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            assert_eq!(metric.name.ends_with("_total"), metric.kind.word() == "counter", "{}", metric.name);
            if metric.kind == SECONDS {
                assert!(metric.name.ends_with("_seconds"));
            }
            if metric.kind == TIME {
                assert!(metric.name.ends_with("_seconds_total"));
            }
            assert!(!metric.help.contains('\n') && metric.help.ends_with('.'));
        }
    }
}
