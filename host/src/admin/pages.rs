//! The pages as JSON, in the words of the configuration.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::SystemTime,
};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::filter_pages;
use crate::{
    clock::seconds,
    cluster::{
        balance::Health,
        choice::Priority,
        endpoint::{Mark, SharedEndpoint},
        found::State,
        shared::SharedCluster,
    },
    config::resolved::Discovery,
    reload::audit::{Entry, Outcome},
    snapshot::Snapshot,
    telemetry::{Metric, Reading, Registry, names},
    xds::status::Status as ControlPlane,
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

/// What the status says besides the snapshot.
pub struct Circumstances {
    /// Whether the process drains.
    pub draining: bool,
    /// What is used of its limits.
    pub overload: Value,
    /// The last entry of the audit.
    pub last_change: Option<Entry>,
    /// Targets of the log whose level is changed.
    pub log_levels: usize,
    /// Control planes, and how they are.
    pub control_planes: BTreeMap<String, Arc<ControlPlane>>,
    /// The generation that neither they nor changed files replace.
    pub pinned: Option<u64>,
}

/// Endpoints that the status names.
const NAMED: usize = 100;

/// `/status`
pub fn status(snapshot: &Snapshot, registry: &Registry, now: &Circumstances) -> Value {
    let mut unhealthy = endpoints(snapshot, |endpoint| endpoint.status.health() != Health::Healthy);
    let trouble = filter_pages::trouble(snapshot, registry);
    let warnings = warnings(snapshot, registry, now, unhealthy.len(), &trouble);
    unhealthy.truncate(NAMED);
    let started = count(registry, &names::PROCESS_START, &[]);
    let uptime = u64::try_from(started).map_or(0, |started| seconds(SystemTime::now()).saturating_sub(started));
    let listeners: serde_json::Map<_, _> =
        snapshot.listeners.iter().map(|(name, address)| (name.clone(), json!(address))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "generation": snapshot.generation,
        "since": seconds(snapshot.since),
        "uptime_seconds": uptime,
        "healthy": warnings.is_empty() && !now.draining,
        "draining": now.draining,
        "workers": snapshot.config.workers,
        "listeners": listeners,
        "filters": snapshot.config.filters.len(),
        "clusters": snapshot.config.clusters.len(),
        "warnings": warnings,
        "unhealthy": unhealthy,
        "trouble": trouble,
        "canaries": snapshot.trials.keys().collect::<Vec<_>>(),
        "last_change": now.last_change.as_ref().map(audited),
        "log_levels": now.log_levels,
        "overload": now.overload,
        "pinned": now.pinned,
        "control_planes": now.control_planes.iter().map(|(name, plane)| (name, plane.to_json())).collect::<BTreeMap<_, _>>(),
    })
}

/// What an operator should look at, in words.
fn warnings(
    snapshot: &Snapshot,
    registry: &Registry,
    now: &Circumstances,
    unhealthy: usize,
    trouble: &[Value],
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, cluster) in snapshot.clusters.iter() {
        let membership = cluster.membership();
        if !membership.endpoints.is_empty() && !membership.endpoints.iter().any(|one| one.status.is_usable()) {
            warnings.push(format!("cluster {name} has no endpoint that is usable"));
        }
        if cluster.settings.discovery.is_some() {
            let state = cluster.found.state();
            if membership.endpoints.is_empty() {
                warnings.push(format!("cluster {name} has no endpoint: none has been discovered"));
            }
            if !state.failure.is_empty() {
                warnings.push(format!("cluster {name}: discovery changes nothing: {}", state.failure));
            }
        }
    }
    for (name, plane) in &now.control_planes {
        if !plane.is_connected() {
            warnings.push(format!("control plane {name} is not there: what it has sent goes on"));
        }
        if plane.forgotten() > 0 {
            let forgotten = plane.forgotten();
            warnings.push(format!(
                "control plane {name} has forgotten what it had sent: {forgotten} resources stay until it names others"
            ));
        }
        let refused = plane.refused_now();
        if refused > 0 {
            warnings.push(format!("of control plane {name} {refused} resources are refused"));
        }
    }
    if let Some(generation) = now.pinned {
        warnings.push(format!(
            "pinned to generation {generation}: neither control planes nor changed files are followed until `fyke rollback --release`"
        ));
    }
    if unhealthy > 0 {
        warnings.push(format!("{unhealthy} endpoint{} not healthy", if unhealthy == 1 { " is" } else { "s are" }));
    }
    let open = trouble.iter().filter(|one| one.get("breaker_open").is_some_and(|open| open == true));
    for filter in open.filter_map(|one| one.get("filter").and_then(Value::as_str)) {
        warnings.push(format!("filter {filter} keeps trapping: its policy applies to every stream of a worker"));
    }
    if let Some(Entry { what, outcome: Outcome::Refused(why), .. }) = &now.last_change {
        warnings.push(format!("the last change ({what}) was refused: {why}"));
    }
    let actions = now.overload.get("actions").and_then(Value::as_object);
    for (action, level) in actions.into_iter().flatten() {
        if let Some(level) = level.as_f64().filter(|level| *level > 0.0) {
            warnings.push(format!("overloaded: {action} is at {:.0}%", level * 100.0));
        }
    }
    let lost: i64 = snapshot
        .config
        .sinks
        .keys()
        .flat_map(|sink| ["full", "error"].map(|reason| (sink, reason)))
        .map(|(sink, reason)| count(registry, &names::SINK_DROPPED, &[("sink", sink), ("reason", reason)]))
        .sum();
    if lost > 0 {
        warnings.push(format!("{lost} log records were lost since the start"));
    }
    warnings
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
    entries.iter().map(audited).collect()
}

fn audited(entry: &Entry) -> Value {
    let (generation, why) = match &entry.outcome {
        Outcome::Applied(generation) | Outcome::Unchanged(generation) | Outcome::RolledBack(generation) => {
            (Some(*generation), None)
        }
        Outcome::Refused(why) => (None, Some(why)),
        Outcome::Drains | Outcome::Done => (None, None),
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
}

/// An endpoint, and why it is not healthy if it is not.
fn endpoint(endpoint: &SharedEndpoint) -> Value {
    let (settings, status) = (&endpoint.settings, &endpoint.status);
    let finding = status.finding.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut value = json!({
        "address": settings.address,
        "weight": status.weight_beside(settings.weight),
        "priority": settings.priority,
        "zone": settings.zone,
        "health": status.health().label(),
        "reasons": status.reasons(),
        "connections": status.connections.load(Ordering::Relaxed),
    });
    let Some(fields) = value.as_object_mut() else { return value };
    if status.has(Mark::Drained) {
        fields.insert("drained".to_owned(), true.into());
    }
    if status.weight().is_some() {
        fields.insert("written_weight".to_owned(), settings.weight.into());
    }
    if status.percent() != 100 {
        fields.insert("weight_percent".to_owned(), status.percent().into());
    }
    if !finding.is_empty() {
        fields.insert("last_check".to_owned(), finding.into());
    }
    value
}

/// Endpoints of all clusters that fit, with their cluster.
pub(super) fn endpoints(snapshot: &Snapshot, fits: impl Fn(&SharedEndpoint) -> bool) -> Vec<Value> {
    let mut all = Vec::new();
    for (name, cluster) in snapshot.clusters.iter() {
        for one in cluster.membership().endpoints.iter().filter(|one| fits(one)) {
            let mut value = endpoint(one);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("cluster".to_owned(), name.as_str().into());
            }
            all.push(value);
        }
    }
    all
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

/// Where endpoints are found, and what came of asking there.
fn discovered(discovery: &Discovery, state: &State) -> Value {
    let (source, place) = discovery.words();
    json!({
        "source": source,
        "place": place,
        "version": state.version,
        "updated": state.updated.map(seconds),
        "answered": state.answered.map(seconds),
        "hosts": state.hosts,
        "from_disk": state.from_disk,
        "failure": Some(&state.failure).filter(|failure| !failure.is_empty()),
        "answers": {
            "updated": state.updates, "unchanged": state.unchanged, "empty": state.empty,
            "malformed": state.malformed, "unreachable": state.unreachable,
        },
    })
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
    let discovery = settings.discovery.as_ref().map(|discovery| discovered(discovery, &cluster.found.state()));
    json!({
        "endpoints": endpoints,
        "discovery": discovery,
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
