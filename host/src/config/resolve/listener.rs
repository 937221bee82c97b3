//! `listeners:`

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    Filters, Resolver,
    chains::{Own, network},
    place::Place,
};
use crate::config::{
    include::Included,
    raw,
    resolved::{
        Address, Cluster, ClusterProtocol, Filter, Listener, ListenerLimits, ListenerProtocol, OriginalDestination,
        ProxyProtocol, Rest, Share, Target,
    },
    tree::quote,
    units,
};

/// Below this hyper refuses to read HTTP/1.
const LEAST_HEAD: u64 = 8 * 1024;
/// Endpoints that are tried for a TCP connection, unless another number is written.
const CONNECT_ATTEMPTS: u32 = 5;
/// Permissions of a socket in the file system, unless others are written.
const OWNER_ONLY: u32 = 0o600;
const LARGEST_HEAD: u64 = 16 * 1024 * 1024;
const LARGEST_BUFFER: u64 = 1024 * 1024 * 1024;

impl Resolver<'_, '_> {
    pub(super) fn listeners(
        &mut self,
        listeners: &BTreeMap<String, raw::Listener>,
        filters: &Filters,
        admin: Option<&Address>,
        root: &Place<'_>,
    ) -> Option<Vec<Listener>> {
        let place = root.key("listeners");
        // Whatever was taken out, or could not be included, may have been the listeners.
        if listeners.is_empty() && self.removed.is_empty() && self.names.included == Included::All {
            let help = "for example `listeners: { web: { address: 0.0.0.0:8080, cluster: app } }`";
            self.diagnostics.error_with_help(place.span, "listeners", "there is nothing to do: no listeners", help);
        }
        let mut taken = HashMap::new();
        if let Some(admin) = admin {
            taken.insert(admin.clone(), root.key("admin").key("address").span);
        }
        let mut resolved = Vec::new();
        for (name, listener) in listeners {
            let place = place.key(name);
            let listener = self.listener(name, listener, filters, &place);
            if let Some(listener) = &listener
                && !listener.address.is_any_port()
            {
                let address = place.key("address");
                if let Some(first) = taken.get(&listener.address) {
                    let message = format!("address {} is used twice", address.shown());
                    let first = self.diagnostics.sources.origin(*first);
                    let problem = self.diagnostics.problem(address.span, &address.path, message);
                    self.diagnostics.push(problem.related(first, "first here"));
                } else {
                    taken.insert(listener.address.clone(), address.span);
                }
            }
            resolved.push(listener);
        }
        resolved.into_iter().collect()
    }

    /// A cluster of TCP servers understands no requests.
    pub(super) fn spoken_there(
        &mut self,
        listeners: &[Listener],
        clusters: &BTreeMap<String, Arc<Cluster>>,
        place: &Place<'_>,
    ) {
        for listener in listeners.iter().filter(|listener| listener.protocol == ListenerProtocol::Http) {
            let place = place.key(&listener.name);
            let chains = listener.chains.iter().enumerate().map(|(index, chain)| {
                let place = place.key("chains").index(index);
                (&chain.target, place)
            });
            let targets = std::iter::once((&listener.target, place.clone())).chain(chains);
            // What a chain takes over was found at its listener already.
            let written = targets.filter_map(|(target, place)| {
                let place = ["cluster", "weighted_clusters"].map(|key| place.key(key));
                Some((target, place.into_iter().find(|place| place.node().is_some())?))
            });
            let tcp = written.flat_map(|(target, place)| {
                let known = target.clusters().filter_map(|name| clusters.get(name));
                let tcp = known.filter(|cluster| cluster.protocol == ClusterProtocol::Tcp);
                tcp.map(move |cluster| (cluster, place.clone())).collect::<Vec<_>>()
            });
            for (cluster, place) in tcp {
                let message = format!("cluster {} has `protocol: tcp` and takes no requests", quote(&cluster.name));
                let help = "give the listener `protocol: tcp`, or the cluster `http1`, `http2` or `auto`";
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
            }
        }
    }

    fn listener(&mut self, name: &str, raw: &raw::Listener, filters: &Filters, place: &Place<'_>) -> Option<Listener> {
        self.contents.clear();
        let address = self.listened(&raw.address, &place.key("address"));
        let mode = self.mode(raw, &place.key("mode"));
        let protocol = match raw.protocol {
            raw::ListenerProtocol::Http => ListenerProtocol::Http,
            raw::ListenerProtocol::Tcp => ListenerProtocol::Tcp,
        };
        let tls = raw.tls.as_ref().map(|tls| self.listener_tls(tls, protocol, &place.key("tls")));
        let trusted = self.trusted(raw, place);
        let chain = self.chain(&raw.filters, filters, &place.key("filters"));
        let target = self.target(raw.cluster.as_ref(), &raw.weighted_clusters, place);
        let targeted = raw.cluster.is_some() || !raw.weighted_clusters.is_empty();
        let broken = |key: &str| self.removed.contains(&format!("{}.{key}", place.path));
        let anywhere = !raw.filters.is_empty() || targeted || !raw.chains.is_empty();
        if !anywhere && !["filters", "cluster", "weighted_clusters", "chains"].into_iter().any(broken) {
            let (message, help) = match raw.protocol {
                raw::ListenerProtocol::Tcp => ("sends connections nowhere", "add `cluster: NAME`"),
                raw::ListenerProtocol::Http => {
                    ("sends requests nowhere", "add `cluster: NAME`, or `filters:` with a router among them")
                }
            };
            let message = format!("listener {} {message}", quote(name));
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
        }
        let limits = self.listener_limits(raw.limits.clone().unwrap_or_default(), &place.key("limits"));
        let own = Own {
            protocol,
            tls: tls.as_ref().and_then(Option::as_ref),
            has_tls: raw.tls.is_some() || self.removed.contains(&format!("{}.tls", place.path)),
            filters: &chain,
            has_filters: !raw.filters.is_empty() || self.removed.contains(&format!("{}.filters", place.path)),
            target: &target,
        };
        let rest = if own.has_filters || targeted || raw.chains.is_empty() { Rest::Own } else { Rest::Closed };
        let chains = self.chains(&raw.chains, &own, filters, &place.key("chains"));
        Some(Listener {
            name: name.to_owned(),
            origin: self.diagnostics.sources.origin(place.span),
            address: address?,
            mode: mode?,
            protocol,
            proxy_protocol: match raw.proxy_protocol {
                raw::ProxyProtocol::Off => ProxyProtocol::Off,
                raw::ProxyProtocol::Accept => ProxyProtocol::Accept,
                raw::ProxyProtocol::Require => ProxyProtocol::Require,
            },
            proxy_protocol_from: trusted?,
            original_destination: match raw.original_destination {
                raw::OriginalDestination::Ignore => OriginalDestination::Ignore,
                raw::OriginalDestination::Use => OriginalDestination::Use,
            },
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
            chains: chains?,
            rest,
            fingerprint: self.fingerprint(raw),
            filters: chain,
            target,
            connect_attempts: self.connect_attempts(raw, &place.key("connect_attempts")),
            limits,
            metadata: Arc::new(raw.metadata.clone()),
            drain: raw.drain.map_or(Duration::from_secs(30), |units::Duration(drain)| drain),
        })
    }

    /// What `proxy_protocol_from:` says.
    fn trusted(&mut self, raw: &raw::Listener, place: &Place<'_>) -> Option<Vec<IpNet>> {
        let Some(networks) = &raw.proxy_protocol_from else { return Some(Vec::new()) };
        let place = place.key("proxy_protocol_from");
        if networks.is_empty() {
            let help = "leave it out where everybody's headers are to be believed";
            self.diagnostics.error_with_help(place.span, &place.path, "nobody's header would be believed", help);
        }
        if matches!(raw.proxy_protocol, raw::ProxyProtocol::Off) && !networks.is_empty() {
            let (message, help) = ("nobody's header is read", "add `proxy_protocol: accept`, or `require`");
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
        }
        self.each(Some(networks), &place, |text| network(text))
    }

    /// What `cluster:` or `weighted_clusters:` says.
    pub(super) fn target(
        &mut self,
        cluster: Option<&String>,
        weighted: &[raw::WeightedCluster],
        place: &Place<'_>,
    ) -> Target {
        // Otherwise they may come when they are needed.
        if let Some(cluster) = cluster.filter(|_| !self.on_demand) {
            self.unknown("cluster", cluster, &place.key("cluster"));
        }
        let place = place.key("weighted_clusters");
        let fixed = !self.on_demand;
        for (index, share) in weighted.iter().enumerate().filter(|_| fixed) {
            self.unknown("cluster", &share.cluster, &place.index(index).key("cluster"));
        }
        if !weighted.is_empty() {
            let problem = if cluster.is_some() {
                Some(("`cluster` and `weighted_clusters` exclude each other", "take one of them away"))
            } else if weighted.iter().all(|share| share.weight == 0) {
                Some(("nothing goes anywhere: all weights are 0", "give a cluster `weight: 1`"))
            } else {
                None
            };
            if let Some((message, help)) = problem {
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
            }
        }
        match cluster {
            Some(cluster) => Target::Cluster(cluster.clone()),
            None if weighted.is_empty() => Target::Nowhere,
            None => {
                let share = |raw: &raw::WeightedCluster| Share { cluster: raw.cluster.clone(), weight: raw.weight };
                Target::Weighted(weighted.iter().map(share).collect())
            }
        }
    }

    fn connect_attempts(&mut self, raw: &raw::Listener, place: &Place<'_>) -> usize {
        if raw.connect_attempts.is_some() && matches!(raw.protocol, raw::ListenerProtocol::Http) {
            let help = "take it away; for requests a route's `retry:` says how often";
            let message = "only TCP connections are attempted again by their listener";
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
        }
        raw.connect_attempts.unwrap_or(CONNECT_ATTEMPTS) as usize
    }

    fn listened(&mut self, text: &str, place: &Place<'_>) -> Option<Address> {
        match text.strip_prefix("unix:") {
            Some(path) => Some(Address::Unix(self.file(place, path))),
            None => self.address(text, place).map(Address::Tcp),
        }
    }

    fn mode(&mut self, raw: &raw::Listener, place: &Place<'_>) -> Option<u32> {
        let Some(text) = &raw.mode else { return Some(OWNER_ONLY) };
        if !raw.address.starts_with("unix:") {
            let help = "take it away, or give the listener an address such as unix:/run/app.sock";
            let message = "only sockets in the file system have permissions";
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
            return None;
        }
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 && text.len() <= 4 && !text.starts_with('+') => Some(mode),
            _ => {
                let message = format!("{} are no permissions", place.shown());
                self.diagnostics.error_with_help(
                    place.span,
                    &place.path,
                    message,
                    "expected octal digits, such as \"0660\"",
                );
                None
            }
        }
    }

    pub(super) fn chain(&mut self, names: &[String], filters: &Filters, place: &Place<'_>) -> Vec<Arc<Filter>> {
        let mut chain: Vec<Arc<Filter>> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let place = place.index(index);
            self.unknown("filter", name, &place);
            if names.iter().take(index).any(|earlier| earlier == name) {
                let message = format!("filter {} is twice in one chain", place.shown());
                let help = "define it under a second name if it really has to run twice";
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
            }
            chain.extend(filters.get(name).cloned());
        }
        chain
    }

    fn listener_limits(&mut self, raw: raw::ListenerLimits, place: &Place<'_>) -> ListenerLimits {
        let default = ListenerLimits::default();
        let count = |written: Option<u32>, default: usize| written.map_or(default, |count| count as usize);
        ListenerLimits {
            connections: count(raw.connections, default.connections),
            header_bytes: self.size(
                raw.header_bytes,
                default.header_bytes,
                (LEAST_HEAD, LARGEST_HEAD),
                &place.key("header_bytes"),
            ),
            headers: count(raw.headers, default.headers),
            header_timeout: self.timeout(raw.header_timeout, default.header_timeout, &place.key("header_timeout")),
            idle_timeout: self.timeout(raw.idle_timeout, default.idle_timeout, &place.key("idle_timeout")),
            streams: raw.streams.unwrap_or(default.streams),
            buffer: self.size(raw.buffer, default.buffer, (0, LARGEST_BUFFER), &place.key("buffer")),
        }
    }
}
