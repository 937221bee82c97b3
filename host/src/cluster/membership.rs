//! The endpoints that a cluster has at one moment, and how requests are spread over them.

use std::sync::Arc;

use super::{
    balance::{Host, Plan},
    endpoint::SharedEndpoint,
};
use crate::config::resolved;

/// Endpoints and the balancer's plan for them. Never changes: another one takes its place.
#[derive(Debug)]
pub struct Membership {
    /// Which one it is.
    pub version: u64,
    /// All of them, in the order of the configuration or of discovery.
    pub endpoints: Vec<Arc<SharedEndpoint>>,
    /// Where requests go. Names endpoints by their place in the list.
    pub plan: Plan,
}

impl Membership {
    pub(super) fn new(settings: &resolved::Cluster, version: u64, endpoints: Vec<Arc<SharedEndpoint>>) -> Self {
        // An endpoint may ask for less than its weight: then all are hundred times as fine.
        let finely = endpoints.iter().any(|endpoint| endpoint.status.percent() != 100);
        let hosts: Vec<Host> = endpoints.iter().map(|endpoint| host(settings, endpoint, finely)).collect();
        let plan = Plan::build(&settings.balancing, &settings.own_zone, &[], &hosts);
        Self { version, endpoints, plan }
    }

    /// The endpoint with an address.
    #[must_use]
    pub fn endpoint(&self, address: std::net::SocketAddr) -> Option<&Arc<SharedEndpoint>> {
        self.endpoints.iter().find(|endpoint| endpoint.address() == address)
    }

    /// The place of an address in the list.
    #[must_use]
    pub fn find(&self, address: std::net::SocketAddr) -> Option<usize> {
        self.endpoints.iter().position(|endpoint| endpoint.address() == address)
    }
}

fn host(settings: &resolved::Cluster, endpoint: &SharedEndpoint, finely: bool) -> Host {
    let written = &endpoint.settings;
    let weight = endpoint.status.weight_beside(written.weight);
    Host {
        key: written.address.to_string(),
        weight: if finely { weight.saturating_mul(endpoint.status.percent()) } else { weight },
        priority: written.priority,
        zone: written.zone.clone(),
        locality_weight: settings.zone_weights.get(&written.zone).copied().unwrap_or(1),
        labels: endpoint.labels(),
        health: endpoint.status.health(),
        healthy_since: endpoint.status.healthy_since(),
    }
}
