//! Endpoints by cluster.

use std::sync::{
    PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{Host, provenance, services, sum, traffic, warnings};
use crate::{
    admin::dashboard::model::{
        Check, CheckOutcome, ClusterEndpoints, EndpointRow, Errors, Health, Provenance, ServiceKind, Time,
    },
    cluster::{
        balance,
        endpoint::{Checked, Mark, SharedEndpoint},
        health::active::{self, Kind},
        shared::SharedCluster,
    },
    config::resolved::ClusterProtocol,
    telemetry::names,
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
    let endpoints = membership.endpoints.iter().map(|endpoint| row(host, cluster, endpoint)).collect();
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

/// Whether its endpoints count requests: of a cluster that nobody has used there is nothing to tell, and of TCP connections are counted.
pub(super) fn counts_requests(cluster: &SharedCluster) -> bool {
    cluster.is_used() && cluster.settings.protocol != ClusterProtocol::Tcp
}

fn row(host: &Host<'_>, cluster: &SharedCluster, endpoint: &SharedEndpoint) -> EndpointRow {
    let (settings, status) = (&endpoint.settings, &endpoint.status);
    let (since, traffic) = {
        let kept = host.admin.board.kept();
        let down = kept.down().get(&cluster.settings.name).and_then(|down| down.get(&settings.address));
        let since = down.filter(|(health, _)| *health == status.health()).map(|(_, since)| *since);
        (since, kept.traffic.of(&cluster.settings.name, endpoint))
    };
    let recovered = || status.healthy_since().map(Time).filter(|_| status.health() == balance::Health::Healthy);
    let counts = counts_requests(cluster);
    let tally = &status.tally;
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    EndpointRow {
        address: settings.address.to_string(),
        zone: settings.zone.clone(),
        priority: settings.priority,
        // Endpoints do not know their own lines.
        provenance: Provenance { origin: None, last_used: traffic.used },
        health: health(status.health()),
        since: since.or_else(recovered),
        reasons: warnings::why(endpoint),
        drained: status.has(Mark::Drained),
        check: status.checked.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(check),
        weight: status.weight_beside(settings.weight),
        weight_percent: status.percent(),
        connections: Some(status.connections.load(Ordering::Relaxed).into()),
        active: counts.then(|| tally.requests.active().into()),
        rate: traffic.rate.filter(|_| counts),
        requests: counts.then(|| traffic::requests(tally)),
        p50: traffic.p50.filter(|_| counts),
        p99: traffic.p99.filter(|_| counts),
        errors: cluster.is_used().then(|| Errors {
            connect: number(&tally.connect_failures),
            timeout: number(&tally.timeouts),
            reset: number(&tally.resets),
            status_5xx: number(&tally.server_errors),
        }),
    }
}

fn check(checked: &Checked) -> Check {
    Check {
        at: Time(checked.at),
        outcome: if checked.passed { CheckOutcome::Passed } else { CheckOutcome::Failed },
        finding: if checked.passed { "passed".to_owned() } else { checked.finding.clone() },
        took: checked.took.map(|took| took.as_secs_f64()),
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
