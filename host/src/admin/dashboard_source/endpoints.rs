//! Endpoints by cluster.

use std::sync::atomic::Ordering;

use super::{Host, provenance, services, sum, warnings};
use crate::{
    admin::dashboard::model::{ClusterEndpoints, EndpointRow, Errors, Health, LastUsed, Provenance, ServiceKind, Time},
    cluster::{
        balance,
        endpoint::SharedEndpoint,
        health::active::{self, Kind},
        shared::SharedCluster,
    },
    telemetry::{Reading, names},
};

/// Why a cluster refuses requests.
const LIMITS: [&str; 4] = ["connections", "connections_per_endpoint", "pending", "requests"];

/// Of one cluster, or of all.
pub(super) fn endpoints(host: &Host<'_>, chosen: Option<&str>) -> Vec<ClusterEndpoints> {
    let clusters = &host.snapshot.clusters;
    match chosen {
        Some(name) => clusters.get(name).map(|one| cluster(host, one)).into_iter().collect(),
        None => clusters.values().map(|one| cluster(host, one)).collect(),
    }
}

pub(super) fn health(health: balance::Health) -> Health {
    match health {
        balance::Health::Healthy => Health::Healthy,
        balance::Health::Degraded => Health::Degraded,
        balance::Health::Draining => Health::Draining,
        balance::Health::Unhealthy => Health::Unhealthy,
    }
}

fn cluster(host: &Host<'_>, cluster: &SharedCluster) -> ClusterEndpoints {
    let settings = &cluster.settings;
    let name = settings.name.as_str();
    let used = host.admin.board.kept().last_used(ServiceKind::Cluster, name);
    let membership = cluster.membership();
    let only = if membership.endpoints.len() == 1 { only(host, cluster) } else { Only::default() };
    let endpoints = membership.endpoints.iter().map(|endpoint| row(host, cluster, endpoint, &only)).collect();
    let mut shown = ClusterEndpoints {
        name: name.to_owned(),
        detail: services::detail(cluster),
        checked: settings.health_check.as_deref().map(checked).unwrap_or_default(),
        provenance: provenance(&settings.origin, used),
        connections_limit: Some(settings.circuit_breakers.usual.connections as u64),
        endpoints,
        ..ClusterEndpoints::default()
    };
    // Of ten thousand clusters most may never be used: nothing is looked up for them.
    if cluster.is_used() {
        let own = ("cluster", name);
        let number = |metric| host.number(metric, &[own]);
        shown.pending = number(&names::CLUSTER_PENDING);
        shown.connections = number(&names::CLUSTER_CONNECTIONS_ACTIVE);
        let stale = number(&names::CLUSTER_STALE_RETRIES).unwrap_or(0);
        shown.retries = Some(host.registry().sum(&names::CLUSTER_RETRIES, name).saturating_add(stale));
        shown.overflows = Some(sum(host.registry(), &names::CLUSTER_OVERFLOWS, own, "limit", &LIMITS));
        shown.no_endpoint = Some(number(&names::CLUSTER_NO_ENDPOINT).unwrap_or(0));
    }
    shown
}

/// What is counted by cluster is an endpoint's where there is no other one.
#[derive(Default)]
struct Only {
    rate: Option<f64>,
    active: Option<u64>,
    requests: Option<u64>,
    p50: Option<f64>,
    p99: Option<f64>,
    errors: Option<Errors>,
    used: LastUsed,
}

fn only(host: &Host<'_>, cluster: &SharedCluster) -> Only {
    if !cluster.is_used() {
        return Only::default();
    }
    let name = cluster.settings.name.as_str();
    let class = |class| sum(host.registry(), &names::CLUSTER_REQUESTS, ("cluster", name), "class", &[class]);
    let (now, used) = {
        let kept = host.admin.board.kept();
        (kept.history().now(ServiceKind::Cluster, name), kept.last_used(ServiceKind::Cluster, name))
    };
    let quantile = |quantile| match host.registry().read(&names::CLUSTER_REQUEST_DURATION, &[("cluster", name)]) {
        Some(Reading::Histogram(durations)) => durations.quantile(quantile),
        _ => None,
    };
    Only {
        rate: now.rate,
        active: host.number(&names::CLUSTER_REQUESTS_ACTIVE, &[("cluster", name)]),
        requests: Some(host.registry().sum(&names::CLUSTER_REQUESTS, name)),
        p50: now.p50.or_else(|| quantile(0.5)),
        p99: now.p99.or_else(|| quantile(0.99)),
        errors: Some(Errors {
            connect: class("unreachable"),
            timeout: class("timeout"),
            reset: class("reset"),
            status_5xx: class("5xx"),
        }),
        used,
    }
}

fn row(host: &Host<'_>, cluster: &SharedCluster, endpoint: &SharedEndpoint, only: &Only) -> EndpointRow {
    let (settings, status) = (&endpoint.settings, &endpoint.status);
    let since = {
        let kept = host.admin.board.kept();
        let down = kept.down().get(&cluster.settings.name).and_then(|down| down.get(&settings.address));
        down.filter(|(health, _)| *health == status.health()).map(|(_, since)| *since)
    };
    let recovered = || status.healthy_since().map(Time).filter(|_| status.health() == balance::Health::Healthy);
    EndpointRow {
        address: settings.address.to_string(),
        zone: settings.zone.clone(),
        priority: settings.priority,
        // Endpoints do not know their own lines.
        provenance: Provenance { origin: None, last_used: only.used },
        health: health(status.health()),
        since: since.or_else(recovered),
        reasons: warnings::why(endpoint),
        drained: false,
        check: None,
        weight: settings.weight,
        weight_percent: status.percent(),
        connections: Some(status.connections.load(Ordering::Relaxed).into()),
        active: only.active,
        rate: only.rate,
        requests: only.requests,
        p50: only.p50,
        p99: only.p99,
        errors: only.errors,
    }
}

/// How a cluster is checked.
fn checked(settings: &active::Settings) -> String {
    let kind = match &settings.kind {
        Kind::Http(check) => format!("http {}", check.path),
        Kind::Grpc(check) if check.service.is_empty() => "grpc".to_owned(),
        Kind::Grpc(check) => format!("grpc {}", check.service),
        Kind::Tcp(_) => "tcp".to_owned(),
        Kind::Redis { .. } => "redis".to_owned(),
        Kind::Mongo => "mongo".to_owned(),
        Kind::Agent(_) => "agent".to_owned(),
    };
    format!("{kind} every {:?}", settings.interval)
}
