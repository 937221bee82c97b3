//! `clusters:`

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use super::{Resolver, health::Checked, place::Place};
use crate::config::{
    raw,
    resolved::{
        CircuitBreakers, Cluster, ClusterProtocol, Discovery, Endpoint, Keepalive, Pool, ProxyProtocolVersion,
        RetryLimit, Thresholds,
    },
};

/// Most further addresses of one endpoint.
const MOST_ADDRESSES: usize = 16;

/// What is written of an endpoint besides its addresses.
pub(super) fn describe(endpoint: &mut Endpoint, full: &raw::FullEndpoint) {
    endpoint.weight = full.weight.unwrap_or(1);
    endpoint.zone = full.zone.clone().unwrap_or_default();
    endpoint.priority = full.priority.unwrap_or(0);
    endpoint.hostname.clone_from(&full.hostname);
    endpoint.labels.clone_from(&full.labels);
}

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
        let (endpoints, discovery) = self.members(name, raw, place);
        let protocol = match raw.protocol {
            raw::ClusterProtocol::Http1 => ClusterProtocol::Http1,
            raw::ClusterProtocol::Http2 => ClusterProtocol::Http2,
            raw::ClusterProtocol::Auto => ClusterProtocol::Auto,
            raw::ClusterProtocol::Tcp => ClusterProtocol::Tcp,
        };
        let connect_timeout = self.timeout(raw.connect_timeout, Duration::from_secs(1), &place.key("connect_timeout"));
        let pool = self.pool(*raw.pool.clone().unwrap_or_default(), &place.key("pool"));
        let bind = raw.bind.as_ref().and_then(|text| {
            let bind = text.parse().ok();
            if bind.is_none() {
                let place = place.key("bind");
                self.diagnostics.error(place.span, &place.path, format!("{} is not an IP address", place.shown()));
            }
            bind
        });
        let circuit_breakers = self.circuit_breakers(raw, &place.key("circuit_breakers"));
        let balancing = self.balancing(raw, place);
        let checked = Checked { name, protocol, tls: raw.tls.is_some() };
        let check = raw.health_check.as_ref();
        let health_check = check.and_then(|check| self.health_check(check, &checked, &place.key("health_check")));
        let agents = raw.agent_check.as_ref();
        let agent_check = agents.map(|agents| self.agent_check(agents, &place.key("agent_check")));
        if agent_check.is_some() && check.is_some_and(|check| check.agent.is_some()) {
            let at = place.key("agent_check");
            self.diagnostics.error(at.span, &at.path, "the agents are the health check already: take one of them out");
        }
        let outliers = raw.outlier_detection.as_ref();
        let outlier_detection =
            outliers.map(|outliers| Arc::new(self.outlier_detection(outliers, &place.key("outlier_detection"))));
        let tls = match &raw.tls {
            Some(tls) => Some(self.cluster_tls(tls, protocol, &place.key("tls"))?),
            None => None,
        };
        Some(Cluster {
            name: name.to_owned(),
            origin: self.diagnostics.sources.origin(place.span),
            endpoints,
            discovery,
            protocol,
            balancing,
            own_zone: self.zone.clone(),
            zone_weights: raw.zone_weights.clone(),
            health_check,
            agent_check,
            outlier_detection,
            connect_timeout,
            bind,
            proxy_protocol: raw.proxy_protocol.map(|version| match version {
                raw::SentProxyProtocol::V1 => ProxyProtocolVersion::V1,
                raw::SentProxyProtocol::V2 => ProxyProtocolVersion::V2,
            }),
            pool,
            circuit_breakers,
            metadata: raw.metadata.clone(),
            tls,
            fingerprint: self.fingerprint(&(raw, self.zone.clone(), raw.discovery.as_ref().map(|_| self.node.clone()))),
        })
    }

    /// Endpoints that are written, or where they are found.
    fn members(
        &mut self,
        name: &str,
        raw: &raw::Cluster,
        place: &Place<'_>,
    ) -> (Vec<Arc<Endpoint>>, Option<Arc<Discovery>>) {
        match (&raw.endpoints, &raw.discovery) {
            (Some(endpoints), None) => (self.endpoints(endpoints, &place.key("endpoints")), None),
            (None, Some(discovery)) => (Vec::new(), self.discovery(name, discovery, &place.key("discovery"))),
            (None, None) => {
                let missing = place.key("endpoints");
                if !self.removed.contains(&missing.path) && !self.removed.contains(&place.key("discovery").path) {
                    let message = format!("cluster {name:?} has neither endpoints nor discovery");
                    let help = "such as `endpoints: [127.0.0.1:3000]` or `discovery: { dns: users.internal:8080 }`";
                    self.diagnostics.error_with_help(place.span, &place.path, message, help);
                }
                (Vec::new(), None)
            }
            (Some(_), Some(_)) => {
                let both = place.key("discovery");
                let message = format!("cluster {name:?} has endpoints already: it has either those or discovery");
                self.diagnostics.error(both.span, &both.path, message);
                (Vec::new(), None)
            }
        }
    }

    fn endpoints(&mut self, endpoints: &[raw::Endpoint], place: &Place<'_>) -> Vec<Arc<Endpoint>> {
        let mut resolved = Vec::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let place = place.index(index);
            resolved.extend(self.endpoint(endpoint, &place).map(Arc::new));
        }
        resolved
    }

    /// One endpoint that is written.
    pub(super) fn endpoint(&mut self, endpoint: &raw::Endpoint, place: &Place<'_>) -> Option<Endpoint> {
        let (address, full, written) = match endpoint {
            raw::Endpoint::Address(address) => (address, None, place.clone()),
            raw::Endpoint::Full(full) => (&full.address, Some(full), place.key("address")),
        };
        let mut resolved = Endpoint::new(self.endpoint_address(address, &written)?);
        if let Some(full) = full {
            resolved.others = self.additional(resolved.address, full, &place.key("additional_addresses"));
            describe(&mut resolved, full);
        }
        Some(resolved)
    }

    fn endpoint_address(&mut self, text: &str, place: &Place<'_>) -> Option<SocketAddr> {
        let address = self.address(text, place)?;
        if address.port() == 0 {
            self.diagnostics.error(place.span, &place.path, "an endpoint cannot have port 0");
        }
        Some(address)
    }

    fn additional(&mut self, first: SocketAddr, raw: &raw::FullEndpoint, place: &Place<'_>) -> Box<[SocketAddr]> {
        let mut addresses = vec![first];
        if raw.additional_addresses.len() > MOST_ADDRESSES {
            self.diagnostics.error(place.span, &place.path, format!("at most {MOST_ADDRESSES} addresses"));
            return Box::default();
        }
        for (index, text) in raw.additional_addresses.iter().enumerate() {
            let place = place.index(index);
            let Some(address) = self.endpoint_address(text, &place) else { continue };
            if addresses.contains(&address) {
                let message = format!("address {} is here twice", place.shown());
                self.diagnostics.error(place.span, &place.path, message);
            }
            addresses.push(address);
        }
        addresses.into_iter().skip(1).collect()
    }

    fn circuit_breakers(&mut self, cluster: &raw::Cluster, place: &Place<'_>) -> CircuitBreakers {
        let raw = *cluster.circuit_breakers.clone().unwrap_or_default();
        let default = Thresholds::default();
        let pool = cluster.pool.as_ref().and_then(|pool| pool.connections);
        let connections = match (raw.connections, pool) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let high = raw.high.as_deref().cloned().unwrap_or_default();
        let high_place = place.key("high");
        for (place, counted, has_budget) in [
            (place, raw.retries.is_some(), raw.retry_budget.is_some() || raw.retry_minimum.is_some()),
            (&high_place, high.retries.is_some(), high.retry_budget.is_some() || high.retry_minimum.is_some()),
        ] {
            if counted && has_budget {
                let message = "`retries` is instead of a budget: take it out, or `retry_budget` and `retry_minimum`";
                self.diagnostics.error(place.span, &place.path, message);
            }
        }
        let budget = |share: Option<crate::config::units::Percent>, least| {
            RetryLimit::budget(share.map(|percent| percent.0), least)
        };
        let thresholds =
            |connections: Option<u32>, pending: Option<u32>, requests: Option<u32>, retries: RetryLimit| Thresholds {
                connections: connections.map_or(default.connections, |count| count as usize),
                connections_per_endpoint: raw.connections_per_endpoint.unwrap_or(default.connections_per_endpoint),
                pending: pending.unwrap_or(default.pending),
                requests: requests.unwrap_or(default.requests),
                retries,
            };
        let usual = raw.retries.map_or(budget(raw.retry_budget, raw.retry_minimum), RetryLimit::Count);
        let own = budget(high.retry_budget.or(raw.retry_budget), high.retry_minimum.or(raw.retry_minimum));
        CircuitBreakers {
            usual: thresholds(connections, raw.pending, raw.requests, usual),
            high: thresholds(
                high.connections,
                high.pending,
                high.requests,
                high.retries.map_or(own, RetryLimit::Count),
            ),
        }
    }

    fn pool(&mut self, raw: raw::Pool, place: &Place<'_>) -> Pool {
        let default = Pool::default();
        Pool {
            idle_timeout: self.timeout(raw.idle_timeout, default.idle_timeout, &place.key("idle_timeout")),
            requests_per_connection: raw.requests_per_connection.unwrap_or(default.requests_per_connection),
            max_age: raw.max_age.map(|age| self.timeout(Some(age), Duration::ZERO, &place.key("max_age"))),
            streams_per_connection: raw.streams_per_connection.unwrap_or(default.streams_per_connection),
            preconnect: raw.preconnect.unwrap_or(default.preconnect),
            keepalive: raw.keepalive.map(|raw| {
                let place = place.key("keepalive");
                Keepalive {
                    idle: self.timeout(raw.idle, Duration::from_secs(60), &place.key("idle")),
                    interval: self.timeout(raw.interval, Duration::from_secs(10), &place.key("interval")),
                    probes: raw.probes.unwrap_or(3),
                }
            }),
            ping: raw.ping.map(|raw| {
                let place = place.key("ping");
                let interval = self.timeout(Some(raw.interval), Duration::ZERO, &place.key("interval"));
                (interval, self.timeout(raw.timeout, Duration::from_secs(5), &place.key("timeout")))
            }),
        }
    }
}
