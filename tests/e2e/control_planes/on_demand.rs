//! Clusters that come when a request or a connection needs one, and layers of a runtime.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    CLUSTER, ControlPlane, ENDPOINTS, LISTENER, ROUTES, SECRET, bound, cluster, endpoints, follower, listener, routes,
    says, source,
};
use crate::support::{Launch, Proxy, Upstream, eventually, proxy::get, tls};

const RUNTIME: &str = "envoy.service.runtime.v3.Runtime";

/// A listener whose route is a header, and that asks for clusters on demand where it says so.
fn by_header(proxy_filter: bool) -> (Value, Value) {
    let mut web = listener("web", "routes");
    if proxy_filter {
        let filter = json!({ "name": "envoy.filters.http.on_demand", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand",
            "odcds": { "source": source(), "timeout": "5s" },
        } });
        let filters = web["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"].as_array_mut().unwrap();
        filters.insert(0, filter);
    }
    let table = json!({ "name": "routes", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
        { "match": { "prefix": "/named" }, "route": { "cluster": "named" } },
        { "match": { "prefix": "/" }, "route": { "cluster_header": "x-to" } },
    ] }] });
    (web, table)
}

async fn to(proxy: &Proxy, name: &str) -> crate::support::Message {
    get(bound(proxy, "web").await, "/", &format!("x-to: {name}\r\n")).await
}

async fn outcome(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metric("fyke_control_plane_on_demand_total", &[("control_plane", "ads"), ("outcome", outcome)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_when_a_request_needs_it() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let proxy = follower(&plane, ", mode: delta, resources: [listeners], on_demand: { timeout: 60s }").await;
    let (web, table) = by_header(true);
    plane.set(ROUTES, "routes", table);
    plane.set(LISTENER, "web", web);
    for (name, upstream) in [("a", &a), ("b", &b), ("named", &b)] {
        plane.set(ENDPOINTS, name, endpoints(name, &[upstream]));
        plane.set(CLUSTER, name, cluster(name));
    }
    let web = bound(&proxy, "web").await;
    eventually("the routes", async || {
        (get(web, "/", "x-to: nobody\r\n").await.text().contains("cluster_not_found")).then_some(())
    })
    .await;
    assert!(proxy.page("/clusters").await.get("a").is_none(), "nobody needs it");
    // Those who come together wait together.
    let answers = futures_util::future::join_all((0..8).map(|_| to(&proxy, "a"))).await;
    assert!(answers.iter().all(|answer| answer.text() == "a"), "{answers:?}");
    assert!(proxy.page("/clusters").await.get("b").is_none());
    assert_eq!(get(web, "/named", "").await.text(), "b");
    assert_eq!(to(&proxy, "b").await.text(), "b");
    assert!(outcome(&proxy, "came").await >= 3.0);
    assert!(outcome(&proxy, "missing").await >= 1.0);
    // What is not there is said at once, long before the timeout.
    let begun = std::time::Instant::now();
    assert_eq!(to(&proxy, "nowhere").await.status(), 503);
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{:?}", begun.elapsed());

    // One that is taken away is asked for anew, and may come back.
    plane.remove(CLUSTER, "a");
    eventually("it to be gone", async || proxy.page("/clusters").await.get("a").is_none().then_some(())).await;
    assert_eq!(to(&proxy, "a").await.status(), 503);
    plane.set(CLUSTER, "a", cluster("a"));
    eventually("it to be back", async || (to(&proxy, "a").await.text() == "a").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_endpoints_and_secrets_of_its_cluster_too() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let a = Upstream::says("a").await;
    let proxy = follower(&plane, ", mode: delta, resources: [listeners], on_demand: { timeout: 60s }").await;
    let (web, table) = by_header(true);
    plane.set(ROUTES, "routes", table);
    plane.set(LISTENER, "web", web);
    let secret = json!({ "name": "own", "sds_config": source() });
    let mut secured = cluster("b");
    secured["transport_socket"] = json!({ "name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": { "tls_certificate_sds_secret_configs": [secret] },
    } });
    plane.set(CLUSTER, "a", cluster("a"));
    plane.set(CLUSTER, "b", secured);
    plane.set(ENDPOINTS, "b", endpoints("b", &[&a]));
    eventually("the routes", async || (to(&proxy, "x").await.text().contains("cluster_not_found")).then_some(())).await;
    let address = bound(&proxy, "web").await;
    let ask = |header: &'static str| tokio::spawn(async move { get(address, "/", header).await });
    let (first, second) = (ask("x-to: a\r\n"), ask("x-to: b\r\n"));
    plane.heard("request", ENDPOINTS);
    plane.heard("request", SECRET);
    assert!(proxy.page("/clusters").await.get("b").is_none(), "it waits for its secret");
    // Whoever comes when the cluster is there and its endpoints are not waits, too.
    eventually("the cluster", async || proxy.page("/clusters").await.get("a").map(drop)).await;
    let third = ask("x-to: a\r\n");
    proxy.metric_reaches("fyke_listener_requests_active", &[("listener", "web")], 3.0).await;
    plane.set(ENDPOINTS, "a", endpoints("a", &[&a]));
    let pair = tls::Authority::new().issue(&["client"]);
    let certificate =
        json!({ "certificate_chain": { "inline_string": pair.pem }, "private_key": { "inline_string": pair.key } });
    plane.set(SECRET, "own", json!({ "name": "own", "tls_certificate": certificate }));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((&*first.text(), &*third.await.unwrap().text()), ("a", "a"));
    // The upstream speaks no TLS: it was asked.
    assert!(second.status() == 503 && !second.text().contains("cluster_not_found"), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_came_on_demand_serve_after_a_restart_without_a_control_plane() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let a = Upstream::says("a").await;
    let mut proxy = follower(&plane, ", mode: delta, resources: [listeners], on_demand: {}").await;
    let (web, table) = by_header(true);
    plane.set(ROUTES, "routes", table);
    plane.set(ENDPOINTS, "a", endpoints("a", &[&a]));
    plane.set(CLUSTER, "a", cluster("a"));
    plane.set(LISTENER, "web", web);
    eventually("the cluster", async || (to(&proxy, "a").await.text() == "a").then_some(())).await;
    drop(plane);
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.restart(&[]).await;
    eventually("the cluster from disk", async || (to(&proxy, "a").await.text() == "a").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_asks_where_nobody_may_is_refused_by_name() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let _proxy = follower(&plane, ", mode: delta").await;
    let (web, table) = by_header(true);
    plane.set(ROUTES, "routes", table);
    plane.set(LISTENER, "web", web);
    let nack = plane.heard("nack", LISTENER)["message"].to_string();
    assert!(nack.contains("web") && nack.contains("on_demand"), "{nack}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_names_are_bounded_and_one_that_is_never_spoken_of_has_its_time() {
    let Some(mut plane) = ControlPlane::start() else { return };
    // States of the world do not say what is not there.
    let proxy = follower(&plane, ", resources: [listeners], on_demand: { timeout: 1s, clusters: 2 }").await;
    let (web, table) = by_header(true);
    plane.set(ROUTES, "routes", table);
    plane.set(LISTENER, "web", web);
    let web = bound(&proxy, "web").await;
    let ask = |name: &'static str| async move { get(web, "/", &format!("x-to: {name}\r\n")).await };
    eventually("the routes", async || (ask("x").await.text().contains("cluster_not_found")).then_some(())).await;
    assert_eq!(ask("y").await.status(), 503);
    assert!(outcome(&proxy, "timeout").await >= 2.0);
    let refused = outcome(&proxy, "refused").await;
    assert_eq!(ask("z").await.status(), 503);
    assert_eq!(outcome(&proxy, "refused").await, refused + 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_when_a_connection_needs_it() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let echo = Upstream::scripted(|mut conn, _, _| async move {
        let bytes = conn.bytes(5).await;
        conn.send(String::from_utf8(bytes).unwrap()).await;
    })
    .await;
    let yaml = format!(
        "listeners: {{ db: {{ address: '127.0.0.1:0', protocol: tcp, cluster: a }} }}\n\
         control_planes: {{ ads: {{ grpc: '127.0.0.1:{}', mode: delta, resources: [], on_demand: {{ timeout: 20s }} }} }}\n",
        plane.port
    );
    plane.set(ENDPOINTS, "a", endpoints("a", &[&echo]));
    plane.set(CLUSTER, "a", cluster("a"));
    let proxy = Launch::new(yaml).start().await;
    let mut client = tokio::net::TcpStream::connect(bound(&proxy, "db").await).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_a_runtime_decide_what_routes_mean_and_change_while_traffic_flows() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let proxy = follower(&plane, ", mode: delta, runtime: [base, flags]").await;
    for (name, upstream) in [("a", &a), ("b", &b)] {
        plane.set(ENDPOINTS, name, endpoints(name, &[upstream]));
        plane.set(CLUSTER, name, cluster(name));
    }
    let fraction = json!({ "runtime_key": "beta.share", "default_value": { "numerator": 0 } });
    let mut table = routes("routes", "/", "a");
    let beta = json!({ "match": { "prefix": "/", "runtime_fraction": fraction }, "route": { "cluster": "b" } });
    table["virtual_hosts"][0]["routes"].as_array_mut().unwrap().insert(0, beta);
    plane.set(ROUTES, "routes", table);
    plane.set(LISTENER, "web", listener("web", "routes"));
    says(&proxy, "web", "a").await;
    let layer = |name: &str, share: Value| json!({ "name": name, "layer": { "beta": { "share": share } } });
    plane.set(RUNTIME, "base", layer("base", json!(100)));
    says(&proxy, "web", "b").await;
    // The one above prevails, until it is gone.
    plane.set(RUNTIME, "flags", layer("flags", json!(0)));
    says(&proxy, "web", "a").await;
    plane.remove(RUNTIME, "flags");
    says(&proxy, "web", "b").await;
    plane.set(RUNTIME, "base", layer("base", json!([1])));
    let nack = plane.heard("nack", RUNTIME)["message"].to_string();
    assert!(nack.contains("base") && nack.contains("beta.share"), "{nack}");
    says(&proxy, "web", "b").await;
}
