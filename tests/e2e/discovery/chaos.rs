//! Whatever becomes of those who say where endpoints are, no request fails that its endpoint would have answered.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fyke_peers::ControlPlane;
use serde_json::{Value, json};

use super::{OUTCOMES, dns::Names};
use crate::support::{
    Launch, Proxy, Reply, Service, Upstream, eventually,
    load::Load,
    proxy::{get, post_body},
};

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENER: &str = "envoy.config.listener.v3.Listener";

/// Requests that have to be answered after each blow, at each listener.
const MORE: u64 = 40;

async fn upstream() -> Upstream {
    Upstream::http(|_| Reply::ok("ok")).await
}

/// Clients of one listener.
#[derive(Clone, Default)]
struct Count {
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Count {
    fn begin(&self, load: &mut Load, address: SocketAddr) {
        let count = self.clone();
        load.client(async move |turn| {
            while turn.goes_on() {
                let answer = get(address, "/", "connection: close\r\n").await;
                let counter = if answer.status() == 200 { &count.answered } else { &count.failed };
                counter.fetch_add(1, Ordering::Relaxed);
                turn.answered();
            }
        });
    }

    /// So many more are answered, and none has failed.
    async fn goes_on(&self, what: &str) {
        let before = self.answered.load(Ordering::Relaxed);
        let more = async || (self.answered.load(Ordering::Relaxed) >= before + MORE).then_some(());
        eventually(format!("answers while {what}"), more).await;
        assert_eq!(self.failed.load(Ordering::Relaxed), 0, "{what}");
    }
}

async fn register(registry: &Service, upstream: &Upstream) {
    let body = format!("ip=127.0.0.1&port={}", upstream.address.port());
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let answer = post_body(registry.address, "/v1/registration/users", form, &body).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

async fn registry(address: &str) -> Service {
    Service::start(&["registry", "--address", address, "--open"]).await
}

fn assignment(upstreams: &[&Upstream]) -> Value {
    let one = |upstream: &&Upstream| json!({ "endpoint": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": upstream.address.port() } } } });
    json!({ "cluster_name": "planned", "endpoints": [{ "lb_endpoints": upstreams.iter().map(one).collect::<Vec<_>>() }] })
}

/// A listener with a cluster whose endpoints come and are checked.
fn plan(plane: &mut ControlPlane, upstreams: &[&Upstream]) {
    let source = json!({ "ads": {}, "resource_api_version": "V3" });
    let check = json!({
        "timeout": "1s", "interval": "0.05s", "no_traffic_interval": "0.05s", "healthy_threshold": 1, "unhealthy_threshold": 3,
        "http_health_check": { "path": "/healthz" },
    });
    let cluster = json!({
        "name": "planned", "type": "EDS", "connect_timeout": "2s", "eds_cluster_config": { "eds_config": source }, "health_checks": [check],
    });
    let types = "type.googleapis.com/envoy.extensions.filters";
    let listener = json!({
        "name": "planned", "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{ "name": "hcm", "typed_config": {
            "@type": format!("{types}.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "planned",
            "route_config": { "name": "r", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
                { "match": { "prefix": "/" }, "route": { "cluster": "planned" } },
            ] }] },
            "http_filters": [{ "name": "router", "typed_config": { "@type": format!("{types}.http.router.v3.Router") } }],
        } }] }],
    });
    plane.set(ENDPOINTS, "planned", assignment(upstreams));
    plane.set(CLUSTER, "planned", cluster);
    plane.set(LISTENER, "planned", listener);
}

async fn bound(proxy: &Proxy, listener: &str) -> SocketAddr {
    let found = async || proxy.page("/status").await["listeners"][listener].as_str()?.parse().ok();
    eventually(format!("the listener {listener}"), found).await
}

/// Waits until all endpoints of a cluster pass their checks.
async fn well(proxy: &Proxy, cluster: &str, count: usize) {
    let all = async || {
        let page = proxy.page("/clusters").await;
        let endpoints = page[cluster]["endpoints"].as_array()?;
        (endpoints.len() == count && endpoints.iter().all(|one| one["health"] == "healthy")).then_some(())
    };
    eventually(format!("{count} healthy endpoints of {cluster}"), all).await;
}

async fn outcome(proxy: &Proxy, cluster: &str, outcome: &str) {
    proxy.metric_reaches(OUTCOMES, &[("cluster", cluster), ("outcome", outcome)], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_registries_names_and_control_planes_are_killed_wiped_or_lie() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let (a, b, c) = (upstream().await, upstream().await, upstream().await);
    let first = registry("127.0.0.1:0").await;
    let (home, planes) = (first.address.to_string(), plane.port);
    register(&first, &a).await;
    register(&first, &b).await;
    let names = Names::new().await;
    names.addresses("users.test", &["127.0.0.1"]);
    plan(&mut plane, &[&a, &b]);
    let check = "health_check: { http: /healthz, interval: 50ms, no_traffic_interval: 50ms, healthy: 1 }";
    let yaml = format!(
        "state: state\ncontrol_planes: {{ ads: {{ grpc: '127.0.0.1:{planes}', mode: delta }} }}\n\
         listeners:\n  listed: {{ address: '127.0.0.1:0', cluster: listed }}\n  named: {{ address: '127.0.0.1:0', cluster: named }}\nclusters:\n  \
         listed: {{ discovery: {{ rest: 'http://{home}/v1/registration/users', refresh: 1s }}, {check} }}\n  \
         named: {{ discovery: {{ dns: 'users.test:{}', {} }} }}\n",
        c.address.port(),
        names.keys(),
    );
    let mut proxy = Launch::new(yaml).workers(2).start().await;
    well(&proxy, "listed", 2).await;
    well(&proxy, "planned", 2).await;
    let [listed, named, planned] = [Count::default(), Count::default(), Count::default()];
    let mut load = Load::default();
    listed.begin(&mut load, bound(&proxy, "listed").await);
    named.begin(&mut load, bound(&proxy, "named").await);
    planned.begin(&mut load, bound(&proxy, "planned").await);
    let go_on = async |what: &str| {
        for count in [&listed, &named, &planned] {
            count.goes_on(what).await;
        }
    };
    go_on("all is well").await;

    // Killed, all at once.
    drop((first, plane));
    names.silence(true);
    outcome(&proxy, "listed", "unreachable").await;
    outcome(&proxy, "named", "unreachable").await;
    let alone = async || (proxy.page("/status").await["control_planes"]["ads"]["connected"] == false).then_some(());
    eventually("the control plane to be missed", alone).await;
    go_on("nobody says anything").await;

    // Back, without any memory.
    let second = registry(&home).await;
    names.silence(false);
    names.addresses("users.test", &[]);
    let Some(mut plane) = ControlPlane::start_at(planes) else { return };
    plane.heard("ack", CLUSTER);
    plane.heard("ack", LISTENER);
    outcome(&proxy, "listed", "empty").await;
    outcome(&proxy, "named", "empty").await;
    go_on("they know nothing").await;

    // Half of what is true, then no endpoint at all; who is checked and well goes on.
    register(&second, &b).await;
    (0..10).for_each(|_| plane.say(&json!({})));
    plan(&mut plane, &[&b]);
    names.forget();
    let absent = async |cluster: &str, wanted: usize| {
        let found = async || {
            let page = proxy.page("/clusters").await;
            let endpoints = page[cluster]["endpoints"].as_array()?;
            let absent = endpoints.iter().filter(|one| one["reasons"].to_string().contains("no longer discovered"));
            (absent.count() == wanted && endpoints.len() == 2).then_some(())
        };
        eventually(format!("{wanted} absent endpoints of {cluster}"), found).await;
    };
    absent("listed", 1).await;
    absent("planned", 1).await;
    go_on("half of them are named").await;
    plane.set(ENDPOINTS, "planned", assignment(&[]));
    absent("planned", 2).await;
    go_on("none is named").await;
    plan(&mut plane, &[&a, &b]);
    absent("planned", 0).await;
    assert!(load.end().await > 0);

    // Nobody is there when the proxy starts: it serves from disk.
    drop((second, plane));
    names.silence(true);
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.restart(&[]).await;
    for listener in ["listed", "named", "planned"] {
        let address = bound(&proxy, listener).await;
        for _ in 0..MORE {
            assert_eq!(get(address, "/", "").await.status(), 200, "{listener}");
        }
    }
}
