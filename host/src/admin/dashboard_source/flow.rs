//! The way of requests: listeners, their filters, clusters, endpoints.
//!
//! What goes from a listener to a cluster is counted, and what an endpoint gets. Between filters what passes is told where it can be known: all of a
//! listener's requests enter its first filter, and of one that stands in one chain alone it is what it has seen.

use std::collections::BTreeSet;

use super::{Host, endpoints, provenance, traffic, ways::Way};
use crate::{
    admin::dashboard::model::{Column, Edge, Flow, LastUsed, Node, Provenance, ServiceKind, Summary},
    config::resolved::{Filter, Listener, Target},
};

/// Listeners, and clusters, that are drawn: as many as the page has room for.
const MOST: usize = 60;
/// Endpoints of a cluster; what is beyond some is drawn as one.
const ENDPOINTS: usize = 32;

pub(super) fn flow(host: &Host<'_>) -> Flow {
    let mut flow = Flow::default();
    let listeners: Vec<&Listener> = host.snapshot.config.listeners.iter().take(MOST).collect();
    let clusters = shown(host, &listeners);
    for listener in &listeners {
        of_listener(host, listener, &clusters, &mut flow);
    }
    for name in clusters {
        of_cluster(host, name, &mut flow);
    }
    flow
}

/// Clusters that listeners name or that are in use; where there are few, all.
fn shown<'a>(host: &'a Host<'_>, listeners: &[&'a Listener]) -> BTreeSet<&'a str> {
    let clusters = &host.snapshot.clusters;
    if clusters.len() <= MOST {
        return clusters.keys().map(String::as_str).collect();
    }
    let kept = host.admin.board.kept();
    let named = listeners.iter().flat_map(|listener| targets(listener));
    let used = clusters.keys().map(String::as_str).filter(|name| kept.is_used(ServiceKind::Cluster, name));
    named.chain(used).take(MOST).collect()
}

fn targets(listener: &Listener) -> impl Iterator<Item = &str> {
    let all: Vec<&Target> =
        std::iter::once(&listener.target).chain(listener.chains.iter().map(|chain| &chain.target)).collect();
    all.into_iter().flat_map(Target::clusters)
}

fn of_listener(host: &Host<'_>, listener: &Listener, clusters: &BTreeSet<&str>, flow: &mut Flow) {
    let name = listener.name.as_str();
    let now = now(host, ServiceKind::Listener, name);
    let id = format!("listener {name}");
    let bound = host.snapshot.listeners.iter().find(|(known, _)| known == name);
    let used = host.admin.board.kept().last_used(ServiceKind::Listener, name);
    flow.nodes.push(Node {
        id: id.clone(),
        column: Column::Listener,
        name: name.to_owned(),
        detail: bound.map_or_else(|| listener.address.to_string(), |(_, address)| address.to_string()),
        group: String::new(),
        health: None,
        provenance: provenance(&listener.origin, used),
    });
    let own = (listener.filters.as_slice(), &listener.target, name.to_owned());
    let more = listener.chains.iter().enumerate().take(MOST);
    let more =
        more.map(|(place, chain)| (chain.filters.as_slice(), &chain.target, format!("{name}, chain {}", place + 1)));
    let is_only = listener.chains.is_empty();
    let gone_to: BTreeSet<&str> = {
        let kept = host.admin.board.kept();
        clusters.iter().copied().filter(|cluster| kept.ways.has(name, cluster)).collect()
    };
    for (filters, target, group) in std::iter::once(own).chain(more) {
        let last = chain(host, &id, filters, &group, (is_only, now), flow);
        let mut reached: BTreeSet<&str> = target.clusters().collect();
        // Where a listener names a cluster, a filter may still choose another one; where it names none, a filter has to.
        if !filters.is_empty() {
            reached.extend(&gone_to);
        }
        for cluster in reached {
            // Of several chains nobody knows which one they came through.
            let way = if is_only { host.admin.board.kept().ways.of(name, cluster) } else { Way::default() };
            let to = format!("cluster {cluster}");
            flow.edges.push(Edge { from: last.clone(), to, rate: way.rate, errors: way.errors, added: way.time });
        }
    }
}

/// The filters of a chain, from the listener on. Returns the last node.
fn chain(
    host: &Host<'_>,
    from: &str,
    filters: &[std::sync::Arc<Filter>],
    group: &str,
    (is_only, now): (bool, Summary),
    flow: &mut Flow,
) -> String {
    let mut last = from.to_owned();
    for (place, filter) in filters.iter().enumerate().take(MOST) {
        let id = format!("filter {group} {place} {}", filter.name);
        let (rate, errors, used) = {
            let kept = host.admin.board.kept();
            let (rate, errors) = kept.filter_rate(&filter.name);
            (rate, errors, kept.filter_used(&filter.name))
        };
        let in_chains = host.snapshot.config.listeners.iter().flat_map(Listener::filter_lists).flatten();
        let is_once = in_chains.filter(|one| one.name == filter.name).count() == 1;
        let rate = if place == 0 && is_only { now.rate } else { rate.filter(|_| is_once) };
        flow.nodes.push(Node {
            id: id.clone(),
            column: Column::Filter,
            name: filter.name.clone(),
            detail: filter.module.to_string(),
            group: group.to_owned(),
            health: None,
            provenance: provenance(&filter.origin, used),
        });
        let errors = errors.filter(|_| is_once);
        flow.edges.push(Edge { from: last, to: id.clone(), rate, errors, added: None });
        last = id;
    }
    last
}

fn of_cluster(host: &Host<'_>, name: &str, flow: &mut Flow) {
    let Some(cluster) = host.snapshot.clusters.get(name) else { return };
    let id = format!("cluster {name}");
    let membership = cluster.membership();
    let used = host.admin.board.kept().last_used(ServiceKind::Cluster, name);
    flow.nodes.push(Node {
        id: id.clone(),
        column: Column::Cluster,
        name: name.to_owned(),
        detail: super::services::detail(cluster),
        group: String::new(),
        health: None,
        provenance: provenance(&cluster.settings.origin, used),
    });
    let counts = endpoints::counts_requests(cluster);
    for endpoint in membership.endpoints.iter().take(ENDPOINTS) {
        let address = endpoint.address().to_string();
        let of_endpoint = format!("endpoint {name} {address}");
        flow.nodes.push(Node {
            id: of_endpoint.clone(),
            column: Column::Endpoint,
            name: address,
            detail: endpoint.settings.zone.clone(),
            group: name.to_owned(),
            health: Some(endpoints::health(endpoint.status.health())),
            provenance: Provenance { origin: None, last_used: LastUsed::Unknown },
        });
        let traffic = host.admin.board.kept().traffic.of(name, endpoint);
        let traffic = if counts { traffic } else { traffic::Traffic::default() };
        flow.edges.push(Edge {
            from: id.clone(),
            to: of_endpoint,
            rate: traffic.rate,
            errors: traffic.errors,
            added: traffic.p50,
        });
    }
}

fn now(host: &Host<'_>, kind: ServiceKind, name: &str) -> Summary {
    host.admin.board.kept().history().now(kind, name)
}
