//! The pages as JSON, in the words of the configuration.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::SystemTime,
};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    cluster::{choice::Priority, endpoint::SharedEndpoint, shared::SharedCluster},
    reload::audit::{Entry, Outcome},
    snapshot::Snapshot,
    telemetry::{Metric, Reading, Registry, names},
};

pub(super) fn count(registry: &Registry, metric: &Metric, labels: &[(&str, &str)]) -> i64 {
    match registry.read(metric, labels) {
        Some(Reading::Counter(value)) => i64::try_from(value).unwrap_or(i64::MAX),
        Some(Reading::Gauge(value)) => value,
        _ => 0,
    }
}

/// `/config`
pub fn config(snapshot: &Snapshot) -> Value {
    let since = seconds(snapshot.since);
    let listeners: Value = snapshot
        .listeners
        .iter()
        .map(|(name, address)| (name.clone(), json!(address)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({ "generation": snapshot.generation, "since": since, "bound": listeners, "config": snapshot.config.sources.as_written() })
}

fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `/status`
pub fn status(snapshot: &Snapshot, draining: bool, overload: Value) -> Value {
    let listeners: serde_json::Map<_, _> =
        snapshot.listeners.iter().map(|(name, address)| (name.clone(), json!(address))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "generation": snapshot.generation,
        "since": seconds(snapshot.since),
        "draining": draining,
        "workers": snapshot.config.workers,
        "listeners": listeners,
        "filters": snapshot.config.filters.len(),
        "clusters": snapshot.config.clusters.len(),
        "overload": overload,
    })
}

/// `/generations`, oldest first
pub fn generations(history: &[Arc<Snapshot>], running: &Snapshot) -> Value {
    let one = |snapshot: &Arc<Snapshot>| {
        json!({
            "generation": snapshot.generation,
            "since": seconds(snapshot.since),
            "runs": snapshot.generation == running.generation,
        })
    };
    history.iter().map(one).collect()
}

/// `/audit`, oldest first
pub fn audit(entries: &[Entry]) -> Value {
    let one = |entry: &Entry| {
        let (generation, why) = match &entry.outcome {
            Outcome::Applied(generation) | Outcome::Unchanged(generation) | Outcome::RolledBack(generation) => {
                (Some(*generation), None)
            }
            Outcome::Refused(why) => (None, Some(why)),
            Outcome::Drains => (None, None),
        };
        json!({
            "when": seconds(entry.when),
            "who": entry.who,
            "what": entry.what,
            "changes": entry.changes,
            "outcome": entry.outcome.label(),
            "generation": generation,
            "error": why,
        })
    };
    entries.iter().map(one).collect()
}

/// An endpoint, and why it is not healthy if it is not.
fn endpoint(endpoint: &SharedEndpoint) -> Value {
    let (settings, status) = (&endpoint.settings, &endpoint.status);
    let finding = status.finding.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut value = json!({
        "address": settings.address,
        "weight": settings.weight,
        "priority": settings.priority,
        "zone": settings.zone,
        "health": status.health().label(),
        "reasons": status.reasons(),
        "connections": status.connections.load(Ordering::Relaxed),
    });
    let Some(fields) = value.as_object_mut() else { return value };
    if status.percent() != 100 {
        fields.insert("weight_percent".to_owned(), status.percent().into());
    }
    if !finding.is_empty() {
        fields.insert("last_check".to_owned(), finding.into());
    }
    value
}

/// `/clusters`. Written one by one: there may be many, and all of them as values would take more memory than they do.
pub struct Clusters<'a> {
    /// What runs.
    pub snapshot: &'a Snapshot,
    /// What was counted.
    pub registry: &'a Registry,
}

impl Serialize for Clusters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let clusters = self.snapshot.clusters.values();
        serializer.collect_map(clusters.map(|cluster| (&cluster.settings.name, self::cluster(cluster, self.registry))))
    }
}

fn cluster(cluster: &SharedCluster, registry: &Registry) -> Value {
    let settings = &cluster.settings;
    let labels = [("cluster", settings.name.as_str())];
    let class = |class| count(registry, &names::CLUSTER_REQUESTS, &[("cluster", &settings.name), ("class", class)]);
    let endpoints: Vec<_> = cluster.membership().endpoints.iter().map(|endpoint| self::endpoint(endpoint)).collect();
    let limits = |priority| {
        let (breakers, left) = (cluster.breakers(priority), cluster.breakers(priority).remaining());
        let limits = breakers.limits();
        json!({
            "connections": { "limit": limits.connections, "remaining": left.connections },
            "requests": { "limit": limits.requests, "remaining": left.requests },
            "pending": { "limit": limits.pending, "remaining": left.pending },
            "retries": { "remaining": left.retries },
        })
    };
    json!({
        "endpoints": endpoints,
        "requests": {
            "active": count(registry, &names::CLUSTER_REQUESTS_ACTIVE, &labels),
            "1xx": class("1xx"), "2xx": class("2xx"), "3xx": class("3xx"), "4xx": class("4xx"), "5xx": class("5xx"),
            "reset": class("reset"), "timeout": class("timeout"), "unreachable": class("unreachable"),
            "no_endpoint": count(registry, &names::CLUSTER_NO_ENDPOINT, &labels),
        },
        "circuit_breakers": { "default": limits(Priority::Default), "high": limits(Priority::High) },
        "connections": {
            "limit": settings.circuit_breakers.usual.connections,
            "open": count(registry, &names::CLUSTER_CONNECTIONS_ACTIVE, &labels),
            "idle": count(registry, &names::CLUSTER_CONNECTIONS_IDLE, &labels),
            "opened": count(registry, &names::CLUSTER_CONNECTIONS, &labels),
            "failed": count(registry, &names::CLUSTER_CONNECT_FAILURES, &labels),
            "timed_out": count(registry, &names::CLUSTER_CONNECT_TIMEOUTS, &labels),
            "pending": count(registry, &names::CLUSTER_PENDING, &labels),
        },
        "origin": format!("{}:{}", settings.origin.file, settings.origin.line),
    })
}
