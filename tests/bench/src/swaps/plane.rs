//! A control plane that is not ours, which says something large anew, again and again.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use fyke_peers::ControlPlane;
use serde_json::{Map, Value, json};

use crate::subject::Subject;

/// Endpoints of the cluster that requests go to.
const ENDPOINTS: u32 = 10_000;
/// Clusters that no request goes to, of one endpoint each.
const CLUSTERS: u32 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const ASSIGNMENT: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// It, with two versions of what it changes.
pub struct Plane {
    plane: ControlPlane,
    /// The type of what changes.
    kind: &'static str,
    version: usize,
}

impl Plane {
    /// One that changes all endpoints of one cluster, or all clusters but that one.
    pub fn start(endpoints: bool, upstream: SocketAddr) -> anyhow::Result<Self> {
        let mut plane = ControlPlane::start().context("FYKE_PYTHON names no Python with grpcio and xds-protos")?;
        let kind = if endpoints { ASSIGNMENT } else { CLUSTER };
        let changed = |version| if endpoints { assignments(version, upstream) } else { clusters(version) };
        for (name, version) in ["0", "1"].into_iter().zip(0..) {
            plane.keep(name, &json!({ kind: changed(version) }));
        }
        let rest =
            if endpoints { json!({ CLUSTER: clusters(0) }) } else { json!({ ASSIGNMENT: assignments(0, upstream) }) };
        plane.keep("rest", &rest);
        let (listener, routes) = (json!({ "web": listener() }), json!({ "routes": routes() }));
        plane.keep("front", &json!({ LISTENER: listener, ROUTES: routes }));
        for name in ["rest", "0", "front"] {
            plane.set_kept(name);
        }
        Ok(Self { plane, kind, version: 0 })
    }

    /// The configuration of a proxy that follows it.
    pub fn configuration(&self) -> String {
        format!("control_planes: {{ ads: {{ grpc: '127.0.0.1:{}', mode: delta }} }}\n", self.plane.port)
    }

    /// Waits until the proxy has what there is.
    pub fn settle(&self, subject: &Subject) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let clusters: Value = serde_json::from_str(&subject.ask("GET", "/clusters")?)?;
            let known = clusters.as_object().map_or(0, Map::len);
            if known > CLUSTERS as usize {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "the proxy knows {known} clusters");
        }
        // What it has said until now.
        while self.plane.said().next().is_some() {}
        Ok(())
    }

    /// Says the other version. Milliseconds from when it is sent until the proxy says that it has been taken.
    pub fn push(&mut self) -> anyhow::Result<f64> {
        self.version = 1 - self.version;
        self.plane.set_kept(&self.version.to_string());
        self.plane.heard("sent", self.kind);
        let sent = Instant::now();
        self.plane.heard("ack", self.kind);
        Ok(sent.elapsed().as_secs_f64() * 1e3)
    }
}

fn source() -> Value {
    json!({ "ads": {}, "resource_api_version": "V3" })
}

/// `big`, whose first priority is one endpoint, so that requests meet a balancer of all and connections of few; the others change.
fn assignments(version: u32, upstream: SocketAddr) -> Value {
    let endpoint = |address: String, port: u16| json!({ "endpoint": { "address": { "socket_address": { "address": address, "port_value": port } } } });
    let others = (1..ENDPOINTS).map(|number| {
        let [_, high, middle, low] = (number + version * ENDPOINTS).to_be_bytes();
        endpoint(format!("10.{high}.{middle}.{low}"), 8080)
    });
    json!({ "big": { "cluster_name": "big", "endpoints": [
        { "lb_endpoints": [endpoint(upstream.ip().to_string(), upstream.port())] },
        { "priority": 1, "lb_endpoints": others.collect::<Vec<_>>() },
    ] } })
}

fn clusters(version: u32) -> Value {
    let mut all = Map::new();
    for number in 0..CLUSTERS {
        let name = format!("c{number}");
        let [_, high, middle, low] = number.to_be_bytes();
        let address = json!({ "address": format!("10.{high}.{middle}.{low}"), "port_value": 8080 });
        let cluster = json!({
            "name": name, "type": "STATIC", "connect_timeout": format!("{}s", 2 + version),
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": { "socket_address": address } } }] }] },
        });
        all.insert(name, cluster);
    }
    let eds = json!({ "name": "big", "type": "EDS", "connect_timeout": "2s", "eds_cluster_config": { "eds_config": source() } });
    all.insert("big".to_owned(), eds);
    Value::Object(all)
}

fn listener() -> Value {
    json!({
        "name": "web",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{ "name": "hcm", "typed_config": {
            "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "web",
            "rds": { "route_config_name": "routes", "config_source": source() },
            "http_filters": [{ "name": "router", "typed_config": { "@type": format!("{TYPES}.http.router.v3.Router") } }],
        } }] }],
    })
}

fn routes() -> Value {
    json!({ "name": "routes", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
        { "match": { "prefix": "/" }, "route": { "cluster": "big" } },
    ] }] })
}
