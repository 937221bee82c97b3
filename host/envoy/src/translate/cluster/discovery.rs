//! Where a cluster's endpoints come from.

use std::collections::BTreeSet;

use serde_json::Value;

use super::endpoints::{self, Assignment, Names};
use crate::{
    place::{Place, ResourceKind},
    reader::Reader,
    translate::{
        common::{self, Address},
        context::Context,
    },
    units::{self, Object},
};

const DNS: &str = "envoy.extensions.clusters.dns.v3.DnsCluster";
const AGGREGATE: &str = "envoy.extensions.clusters.aggregate.v3.ClusterConfig";

/// Where endpoints come from.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those that are known now.
    pub assignment: Assignment,
    /// The rest.
    pub discovery: Option<Value>,
}

impl Found {
    pub fn write(&self, config: &mut Object) {
        match &self.discovery {
            Some(discovery) => config.set("discovery", discovery.clone()),
            None => config.set("endpoints", self.assignment.endpoints.clone()),
        }
    }

    /// The address of the first endpoint.
    pub fn address(&self) -> Option<String> {
        let first = match self.discovery.as_ref().and_then(|discovery| discovery.get("dns")) {
            Some(Value::Array(several)) => several.first()?,
            Some(only) => only,
            None => self.assignment.endpoints.first()?,
        };
        first.as_str().or_else(|| first.get("address")?.as_str()).map(str::to_owned)
    }
}

/// `None`, with a finding: such a cluster cannot be.
pub(super) fn translate(context: &Context<'_>, reader: &Reader<'_>, name: &str) -> Option<Found> {
    if let Some(custom) = reader.message("cluster_type") {
        custom.text("name");
        let Some((kind, config)) = custom.any("typed_config") else {
            custom.refuse_whole("has no typed_config");
            return None;
        };
        return match kind {
            DNS => dns(reader, &config),
            AGGREGATE => {
                config.refuse_whole(aggregate(context, name));
                None
            }
            other => {
                config.refuse_whole(format!("clusters of type {other} are not supported"));
                None
            }
        };
    }
    match reader.text("type") {
        None | Some("STATIC") => static_endpoints(reader),
        Some("STRICT_DNS") => dns(reader, reader),
        Some("LOGICAL_DNS") => dns(reader, reader),
        Some("EDS") => eds(context, reader, name),
        Some(other) => {
            reader.refuse_at("type", format!("clusters of type {other} are not supported"));
            None
        }
    }
}

fn static_endpoints(reader: &Reader<'_>) -> Option<Found> {
    // A cluster without an assignment has no endpoints, which Envoy allows.
    let assignment = reader.message("load_assignment");
    let assignment = assignment.map(|assignment| endpoints::assignment(assignment, Names::Refused));
    Some(Found { assignment: assignment.unwrap_or_default(), discovery: None })
}

/// Names that are looked up. `options` says how; of an older cluster its own fields do.
fn dns(reader: &Reader<'_>, options: &Reader<'_>) -> Option<Found> {
    let mut discovery = Object::default();
    let refresh = options.limit("dns_refresh_rate");
    if options.flag("respect_dns_ttl") && refresh.is_some() {
        options.report_at(
            "dns_refresh_rate",
            crate::Severity::Ignored,
            "answers hold for their TTL, as respect_dns_ttl says",
        );
    }
    // Without a rate answers hold for their TTL.
    let refresh = refresh.filter(|_| !options.flag("respect_dns_ttl"));
    options.ignore("dns_jitter", "refreshes are spread by chance");
    if let Some(failure) = options.message("dns_failure_refresh_rate") {
        failure.ignore_whole("a name that is not found is looked up again soon");
    }
    let family = match options.text("dns_lookup_family") {
        Some("V4_ONLY") => Some("v4"),
        Some("V6_ONLY") => Some("v6"),
        _ => None,
    };
    options.ignore("use_tcp_for_dns_lookups", "long answers are asked for over TCP");
    let servers = servers(options);
    let logical = reader.text("type") == Some("LOGICAL_DNS") || options.flag("all_addresses_in_single_endpoint");
    let Some(assignment) = reader.message("load_assignment") else {
        reader.refuse_at("load_assignment", "is missing");
        return None;
    };
    let mut assignment = endpoints::assignment(assignment, Names::LookedUp);
    if assignment.names == 0 {
        // Addresses need no looking up.
        return Some(Found { assignment, discovery: None });
    }
    let mut names = std::mem::take(&mut assignment.endpoints);
    if let [Value::Object(only)] = names.as_mut_slice() {
        // Against whom?
        only.remove("weight");
        if only.len() == 1
            && let Some(name) = only.remove("address")
        {
            names = vec![name];
        }
    }
    discovery.set("dns", if let [only @ Value::String(_)] = names.as_slice() { only.clone() } else { names.into() });
    discovery.set_some("refresh", refresh.map(units::duration));
    discovery.set_some("mode", logical.then_some("logical"));
    discovery.set_some("family", family);
    discovery.set_filled("servers", servers);
    Some(Found { assignment, discovery: Some(discovery.into()) })
}

/// Name servers, wherever they are said.
fn servers(options: &Reader<'_>) -> Vec<String> {
    let mut addresses = options.messages("dns_resolvers");
    if let Some(config) = options.message("dns_resolution_config") {
        addresses.extend(config.messages("resolvers"));
        if let Some(options) = config.message("dns_resolver_options") {
            options.ignore_whole("long answers are asked for over TCP, and names are whole");
        }
    }
    if let Some(config) = options.message("typed_dns_resolver_config") {
        config.text("name");
        match config.any("typed_config") {
            Some((kind, resolver)) if kind.ends_with(".CaresDnsResolverConfig") => {
                addresses.extend(resolver.messages("resolvers"));
                for key in resolver.keys().filter(|key| *key != "resolvers") {
                    resolver.ignore(key, "names are asked by the proxy's own resolver");
                }
            }
            Some((_, resolver)) => resolver.ignore_whole("names are asked by the proxy's own resolver"),
            None => {}
        }
    }
    let servers = addresses.iter().filter_map(|address| {
        // Over UDP at first, whatever is said.
        let socket = address.message("socket_address")?;
        socket.raw("protocol");
        match common::host_and_port(&socket, common::Ports::Set)? {
            ip @ Address::Ip(..) => Some(ip.text()),
            other => {
                address.refuse_here(format!("{} is no IP address", other.text()));
                None
            }
        }
    });
    servers.take(8).collect()
}

fn eds(context: &Context<'_>, reader: &Reader<'_>, name: &str) -> Option<Found> {
    let config = reader.message("eds_cluster_config");
    let service = config.as_ref().and_then(|config| config.text("service_name")).filter(|name| !name.is_empty());
    let source = config.as_ref().and_then(|config| config.message("eds_config"));
    let plane = match source {
        Some(source) => crate::translate::bootstrap::source(context, source),
        None => {
            reader.refuse_at("eds_cluster_config.eds_config", "is missing");
            None
        }
    };
    let asked = service.unwrap_or(name);
    if let Some(assignment) = context.resources.endpoints.get(asked) {
        let place = Place::resource(ResourceKind::Endpoints, asked);
        let assignment = Reader::new(assignment, place, context.findings)?;
        let assignment = endpoints::assignment(assignment, Names::Refused);
        return Some(Found { assignment, discovery: None });
    }
    let mut discovery = Object::default();
    match plane {
        Some(plane) => {
            discovery.set("xds", plane);
            discovery.set_some("service", service);
            Some(Found { assignment: Assignment::default(), discovery: Some(discovery.into()) })
        }
        // Until its endpoints come it has none.
        None => Some(Found::default()),
    }
}

/// Why an aggregate is refused: all are, but one that contains itself is wrong besides.
fn aggregate(context: &Context<'_>, name: &str) -> String {
    let members = |of: &str| -> Vec<String> {
        let cluster = context.resources.clusters.iter().find(|cluster| cluster["name"] == of);
        let list = cluster.and_then(|cluster| cluster.pointer("/cluster_type/typed_config/clusters")?.as_array());
        list.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let (mut seen, mut todo) = (BTreeSet::new(), members(name));
    while let Some(member) = todo.pop() {
        if member == name {
            return format!("aggregates of clusters are not supported, and {name:?} contains itself");
        }
        if seen.insert(member.clone()) {
            todo.extend(members(&member));
        }
    }
    "aggregates of clusters are not supported: give the endpoints of one cluster priorities".to_owned()
}
