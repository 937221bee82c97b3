//! `clusters:`

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Resolver, place::Place};
use crate::config::{
    raw,
    resolved::{Cluster, ClusterProtocol, Endpoint, LoadBalancer, Pool},
};

impl Resolver<'_, '_> {
    pub(super) fn clusters(
        &mut self,
        clusters: &BTreeMap<String, raw::Cluster>,
        place: &Place<'_>,
    ) -> BTreeMap<String, Arc<Cluster>> {
        clusters
            .iter()
            .filter_map(|(name, cluster)| {
                Some((name.clone(), Arc::new(self.cluster(name, cluster, &place.key(name))?)))
            })
            .collect()
    }

    fn cluster(&mut self, name: &str, raw: &raw::Cluster, place: &Place<'_>) -> Option<Cluster> {
        self.contents.clear();
        let endpoints = self.endpoints(&raw.endpoints, &place.key("endpoints"));
        let protocol = match raw.protocol {
            raw::ClusterProtocol::Http1 => ClusterProtocol::Http1,
            raw::ClusterProtocol::Http2 => ClusterProtocol::Http2,
            raw::ClusterProtocol::Auto => ClusterProtocol::Auto,
            raw::ClusterProtocol::Tcp => ClusterProtocol::Tcp,
        };
        let connect_timeout = self.timeout(raw.connect_timeout, Duration::from_secs(1), &place.key("connect_timeout"));
        let pool = self.pool(raw.pool.clone().unwrap_or_default(), &place.key("pool"));
        let tls = match &raw.tls {
            Some(tls) => Some(self.cluster_tls(tls, protocol, &place.key("tls"))?),
            None => None,
        };
        Some(Cluster {
            name: name.to_owned(),
            origin: self.diagnostics.sources.origin(place.span),
            endpoints,
            protocol,
            load_balancer: match raw.load_balancer {
                raw::LoadBalancer::RoundRobin => LoadBalancer::RoundRobin,
                raw::LoadBalancer::LeastRequest => LoadBalancer::LeastRequest,
                raw::LoadBalancer::Random => LoadBalancer::Random,
            },
            connect_timeout,
            pool,
            metadata: raw.metadata.clone(),
            tls,
            fingerprint: self.fingerprint(raw),
        })
    }

    fn endpoints(&mut self, endpoints: &[raw::Endpoint], place: &Place<'_>) -> Vec<Endpoint> {
        let mut resolved = Vec::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let place = place.index(index);
            let (address, weight, labels, place) = match endpoint {
                raw::Endpoint::Address(address) => (address, 1, BTreeMap::new(), place),
                raw::Endpoint::Full(full) => {
                    (&full.address, full.weight.unwrap_or(1), full.labels.clone(), place.key("address"))
                }
            };
            let Some(address) = self.address(address, &place) else {
                continue;
            };
            if address.port() == 0 {
                self.diagnostics.error(place.span, &place.path, "an endpoint cannot have port 0");
            }
            resolved.push(Endpoint { address, weight, labels });
        }
        resolved
    }

    fn pool(&mut self, raw: raw::Pool, place: &Place<'_>) -> Pool {
        let default = Pool::default();
        Pool {
            connections: raw.connections.map_or(default.connections, |count| count as usize),
            idle_timeout: self.timeout(raw.idle_timeout, default.idle_timeout, &place.key("idle_timeout")),
            requests_per_connection: raw.requests_per_connection.unwrap_or(default.requests_per_connection),
        }
    }
}
