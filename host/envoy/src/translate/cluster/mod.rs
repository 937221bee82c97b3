//! `envoy.config.cluster.v3.Cluster` to `clusters:`.

mod balancing;
mod breakers;
mod discovery;
pub(super) mod endpoints;
mod health;
mod outliers;
mod protocol;

use std::time::Duration;

pub(super) use protocol::common_http2;
use serde_json::Value;

use super::{
    common::{self, Address},
    context::Context,
    tls,
};
use crate::{
    place::{Place, ResourceKind},
    reader::Reader,
    units::{self, Object},
};

/// Envoy's default, which is not Fyke's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster of Fyke.
#[derive(Debug)]
pub(super) struct Cluster {
    pub name: String,
    pub config: Object,
    /// The address of its first endpoint, for what the proxy itself talks to.
    pub address: Option<String>,
    /// `tls:`
    pub tls: Option<Value>,
    /// It says which HTTP is spoken.
    pub http: bool,
}

pub(super) fn translate(context: &Context<'_>, cluster: &Value, index: usize) -> Option<Cluster> {
    let name = cluster.get("name").and_then(Value::as_str).unwrap_or_default();
    let place = match name {
        "" => Place::resource(ResourceKind::Cluster, &format!("#{index}")),
        name => Place::resource(ResourceKind::Cluster, name),
    };
    let reader = Reader::new(cluster, place, context.findings)?;
    reader.text("name");
    if name.is_empty() {
        reader.refuse_whole("has no name");
        return None;
    }
    let Some(found) = discovery::translate(context, &reader, name) else {
        reader.leave();
        return None;
    };
    let mut config = Object::default();
    found.write(&mut config);
    let options = protocol::translate(&reader);
    options.write_protocol(&mut config);
    balancing::translate(&reader, &found, &mut config);
    health::translate(&reader, options.http2(), &mut config);
    outliers::translate(&reader, &mut config);
    let timeout = match reader.has("connect_timeout") {
        true => reader.limit("connect_timeout"),
        false => Some(CONNECT_TIMEOUT),
    };
    config.set_some("connect_timeout", timeout.map(units::duration));
    bind(&reader, &mut config);
    let mut pool = options.pool.clone();
    connections(&reader, &mut pool);
    config.set_some("pool", pool.filled());
    breakers::translate(&reader, &mut config);
    if let Some(metadata) = reader.message("metadata") {
        config.set_filled("metadata", common::metadata(&metadata));
    }
    let upstream = reader.message("transport_socket").map(|socket| tls::upstream(context, &socket, options.auto_sni));
    let upstream = upstream.unwrap_or_default();
    config.set_some("proxy_protocol", upstream.proxy_protocol);
    config.set_some("tls", upstream.tls.clone());
    meaningless(&reader);
    Some(Cluster { name: name.to_owned(), config, address: found.address(), tls: upstream.tls, http: options.said })
}

fn bind(reader: &Reader<'_>, config: &mut Object) {
    let Some(bind) = reader.message("upstream_bind_config") else { return };
    let Some(source) = bind.message("source_address") else { return };
    match common::socket_address(&source, common::Ports::Any) {
        Some(Address::Ip(address, 0)) => config.set("bind", address.to_string()),
        Some(_) => source.refuse_at("port_value", "connections come from an IP address and any port of it"),
        None => {}
    }
}

/// What is said about connections outside of the protocol's options.
fn connections(reader: &Reader<'_>, pool: &mut Object) {
    if let Some(most) = reader.unsigned("max_requests_per_connection")
        && !pool.has("requests_per_connection")
    {
        pool.set("requests_per_connection", most);
    }
    if let Some(policy) = reader.message("preconnect_policy")
        && let Some(ratio) = policy.number("per_upstream_preconnect_ratio")
    {
        if (1.0..=3.0).contains(&ratio) {
            pool.set("preconnect", ratio);
        } else {
            policy.refuse_at("per_upstream_preconnect_ratio", "must be from 1 to 3");
        }
    }
    let Some(options) = reader.message("upstream_connection_options") else { return };
    options.only("set_local_interface_name_on_upstream_connections", false, "endpoints' interfaces have no names here");
    if let Some(eyeballs) = options.message("happy_eyeballs_config") {
        eyeballs.ignore_whole("families are tried by turns, the second after 300 ms");
    }
    let Some(probes) = options.message("tcp_keepalive") else { return };
    let mut keepalive = Object::default();
    let seconds =
        |key: &str| probes.bounded(key, 1, 32_767).map(|seconds| units::duration(Duration::from_secs(seconds)));
    keepalive.set_some("idle", seconds("keepalive_time"));
    keepalive.set_some("interval", seconds("keepalive_interval"));
    keepalive.set_some("probes", probes.bounded("keepalive_probes", 1, 127));
    pool.set("keepalive", keepalive);
}

/// What has no meaning here, and is not missed.
fn meaningless(reader: &Reader<'_>) {
    reader.ignore("alt_stat_name", "statistics have the cluster's name");
    reader.ignore("per_connection_buffer_limit_bytes", "connections of upstreams hold back when nobody reads");
    reader.ignore("cleanup_interval", "clusters of original destinations are not there");
    reader.ignore("wait_for_warm_on_init", "an endpoint counts as well until its first check");
    reader.ignore("track_timeout_budgets", "timeouts are told by the metrics of the cluster");
    let loads = "loads are reported where `load_reports` of the control plane says so, of the clusters that it names";
    reader.ignore("lrs_server", loads);
    reader.ignore("lrs_report_endpoint_metrics", loads);
    reader.ignore("track_cluster_stats", "sizes of requests are always counted");
}
