//! Listeners and clusters.

use super::{Host, provenance};
use crate::{
    admin::dashboard::{
        history::SERVICES,
        model::{SPARK, Service, ServiceKind, Trend},
    },
    cluster::shared::SharedCluster,
    config::resolved::{ClusterProtocol, Listener, ListenerProtocol},
    telemetry::names,
};

/// The last hour, in milliseconds.
const HOUR: u64 = 3_600_000;

/// All listeners, and the clusters that are in use; where there are few clusters, all of them.
pub(super) fn services(host: &Host<'_>) -> Vec<Service> {
    let snapshot = &host.snapshot;
    let mut services: Vec<_> =
        snapshot.config.listeners.iter().take(SERVICES).map(|one| of_listener(host, one, SPARK)).collect();
    let all = services.len() + snapshot.clusters.len() <= SERVICES;
    let clusters: Vec<_> = {
        let kept = host.admin.board.kept();
        let wanted = snapshot.clusters.iter().filter(|(name, _)| all || kept.is_used(ServiceKind::Cluster, name));
        wanted.take(SERVICES).map(|(_, cluster)| cluster).collect()
    };
    services.extend(clusters.into_iter().map(|cluster| of_cluster(host, cluster, SPARK)));
    services
}

/// One of them.
pub(super) fn service(host: &Host<'_>, kind: ServiceKind, name: &str, points: usize) -> Option<Service> {
    match kind {
        ServiceKind::Listener => {
            let listener = host.snapshot.config.listeners.iter().find(|listener| listener.name == name)?;
            Some(of_listener(host, listener, points))
        }
        ServiceKind::Cluster => Some(of_cluster(host, host.snapshot.clusters.get(name)?, points)),
    }
}

fn of_listener(host: &Host<'_>, listener: &Listener, points: usize) -> Service {
    let name = &listener.name;
    let bound = host.snapshot.listeners.iter().find(|(known, _)| known == name);
    let address = bound.map_or_else(|| listener.address.to_string(), |(_, address)| address.to_string());
    let (protocol, active) = match listener.protocol {
        ListenerProtocol::Http => ("http", &names::LISTENER_REQUESTS_ACTIVE),
        ListenerProtocol::Tcp => ("tcp", &names::LISTENER_CONNECTIONS_ACTIVE),
    };
    let tls = if listener.tls.is_some() { " with TLS" } else { "" };
    let active = host.number(active, &[("listener", name)]);
    let kept = host.admin.board.kept();
    let origin = provenance(&listener.origin, kept.last_used(ServiceKind::Listener, name));
    Service {
        kind: ServiceKind::Listener,
        name: name.clone(),
        detail: format!("{address} {protocol}{tls}"),
        provenance: origin,
        now: kept.history().now(ServiceKind::Listener, name),
        hour: kept.history().last(ServiceKind::Listener, name, HOUR),
        trend: kept.history().trend(ServiceKind::Listener, name, points),
        active,
        endpoints: None,
    }
}

fn of_cluster(host: &Host<'_>, cluster: &SharedCluster, points: usize) -> Service {
    let settings = &cluster.settings;
    let name = &settings.name;
    let membership = cluster.membership();
    let up = membership.endpoints.iter().filter(|endpoint| endpoint.status.is_usable()).count();
    let kept = host.admin.board.kept();
    let is_used = kept.is_used(ServiceKind::Cluster, name);
    let origin = provenance(&settings.origin, kept.last_used(ServiceKind::Cluster, name));
    let (now, hour, trend) = if is_used {
        let history = kept.history();
        let kind = ServiceKind::Cluster;
        (history.now(kind, name), history.last(kind, name, HOUR), history.trend(kind, name, points))
    } else {
        Default::default()
    };
    drop(kept);
    Service {
        kind: ServiceKind::Cluster,
        name: name.clone(),
        detail: detail(cluster),
        provenance: origin,
        now,
        hour,
        trend: if is_used { trend } else { Trend::default() },
        active: host.number(&names::CLUSTER_REQUESTS_ACTIVE, &[("cluster", name)]),
        endpoints: Some((up, membership.endpoints.len())),
    }
}

/// A cluster's protocol and balancer.
pub(super) fn detail(cluster: &SharedCluster) -> String {
    let protocol = match cluster.settings.protocol {
        ClusterProtocol::Http1 => "http1",
        ClusterProtocol::Http2 => "http2",
        ClusterProtocol::Auto => "http",
        ClusterProtocol::Tcp => "tcp",
    };
    let balancer = cluster.settings.balancing.policy_name();
    let tls = if cluster.settings.tls.is_some() { " with TLS" } else { "" };
    format!("{protocol}{tls}, {balancer}")
}
