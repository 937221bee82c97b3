//! Control planes that are not ours, and what becomes of what they send.

mod extensions;
mod on_demand;

use fyke_peers::ControlPlane;
use serde_json::{Value, json};

use crate::support::{Launch, Proxy, Upstream, eventually, proxy::get, tls};

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";

fn source() -> Value {
    json!({ "ads": {}, "resource_api_version": "V3" })
}

fn cluster(name: &str) -> Value {
    json!({ "name": name, "type": "EDS", "connect_timeout": "2s", "eds_cluster_config": { "eds_config": source() } })
}

fn endpoints(name: &str, upstreams: &[&Upstream]) -> Value {
    let one = |upstream: &&Upstream| {
        let (address, port) = (upstream.address.ip().to_string(), upstream.address.port());
        json!({ "endpoint": { "address": { "socket_address": { "address": address, "port_value": port } } } })
    };
    json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": upstreams.iter().map(one).collect::<Vec<_>>() }] })
}

fn listener(name: &str, routes: &str) -> Value {
    json!({
        "name": name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{ "name": "hcm", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "rds": { "route_config_name": routes, "config_source": source() },
            "http_filters": [{ "name": "router", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
        } }] }],
    })
}

fn routes(name: &str, prefix: &str, cluster: &str) -> Value {
    json!({ "name": name, "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
        { "match": { "prefix": prefix }, "route": { "cluster": cluster, "timeout": "3s" } },
    ] }] })
}

/// Everything for a listener `web` that leads to these.
fn site(plane: &mut ControlPlane, upstreams: &[&Upstream]) {
    plane.set(ENDPOINTS, "app", endpoints("app", upstreams));
    plane.set(CLUSTER, "app", cluster("app"));
    plane.set(ROUTES, "routes", routes("routes", "/", "app"));
    plane.set(LISTENER, "web", listener("web", "routes"));
}

async fn follower(plane: &ControlPlane, more: &str) -> Proxy {
    let yaml = format!("control_planes: {{ ads: {{ grpc: '127.0.0.1:{}'{more} }} }}\n", plane.port);
    Launch::new(yaml).start().await
}

/// Where a listener is bound, once it is.
async fn bound(proxy: &Proxy, listener: &str) -> std::net::SocketAddr {
    eventually(format!("the listener {listener}"), async || {
        proxy.page("/status").await["listeners"][listener].as_str()?.parse().ok()
    })
    .await
}

/// What the listener answers, once it does.
async fn says(proxy: &Proxy, listener: &str, body: &str) {
    let address = bound(proxy, listener).await;
    eventually(format!("{listener} to say {body}"), async || {
        (get(address, "/", "").await.text() == body).then_some(())
    })
    .await;
}

/// A proxy whose listener `web` says `a`, as its control plane wants it. `None`: there is no Python.
async fn served() -> Option<(ControlPlane, Upstream, Proxy)> {
    let mut plane = ControlPlane::start()?;
    let a = Upstream::says("a").await;
    let proxy = follower(&plane, ", mode: delta").await;
    site(&mut plane, &[&a]);
    says(&proxy, "web", "a").await;
    Some((plane, a, proxy))
}

async fn state(proxy: &Proxy) -> Value {
    proxy.page("/status").await["control_planes"]["ads"].clone()
}

async fn everything(mode: &str) {
    let Some(mut plane) = ControlPlane::start() else { return };
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let proxy = follower(&plane, &format!(", mode: {mode}")).await;
    site(&mut plane, &[&a]);
    says(&proxy, "web", "a").await;
    let address = bound(&proxy, "web").await;

    // Endpoints make no generation, and none of them means none.
    let generation = proxy.page("/status").await["generation"].clone();
    plane.set(ENDPOINTS, "app", endpoints("app", &[&b]));
    says(&proxy, "web", "b").await;
    plane.set(ENDPOINTS, "app", endpoints("app", &[]));
    eventually("no endpoint", async || (get(address, "/", "").await.status() == 503).then_some(())).await;
    plane.set(ENDPOINTS, "app", endpoints("app", &[&a]));
    says(&proxy, "web", "a").await;
    assert_eq!(proxy.page("/status").await["generation"], generation);

    // Routes do, and the listener keeps its socket.
    plane.set(ROUTES, "routes", routes("routes", "/api", "app"));
    eventually("other routes", async || (get(address, "/", "").await.status() == 404).then_some(())).await;
    assert_eq!(get(address, "/api", "").await.text(), "a");
    assert_eq!(bound(&proxy, "web").await, address);

    // A listener whose routes have not come goes on as it is.
    plane.set(LISTENER, "web", listener("web", "others"));
    plane.heard("ack", LISTENER);
    assert_eq!(get(address, "/api", "").await.text(), "a");
    plane.set(ROUTES, "others", routes("others", "/", "app"));
    eventually("the other routes", async || (get(address, "/", "").await.text() == "a").then_some(())).await;

    let status = state(&proxy).await;
    assert_eq!((&status["connected"], &status["resources"]["cluster"]["count"]), (&json!(true), &json!(1)), "{status}");
    let audit = proxy.page("/audit").await;
    assert!(audit.to_string().contains("control plane ads"), "{audit}");
    plane.remove(LISTENER, "web");
    eventually("no listener", async || proxy.page("/status").await["listeners"].as_object()?.is_empty().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_the_world_are_followed() {
    everything("state_of_the_world").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed() {
    everything("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_by_name_and_the_rest_runs() {
    let Some((mut plane, _a, proxy)) = served().await else { return };
    let taken = bound(&proxy, "web").await;

    // One that means nothing here, one that is garbage, one that is good.
    plane.say(&json!({ "set": { CLUSTER: {
        "original": { "name": "original", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED" },
        "broken": "0aff",
        "other": cluster("other"),
    } } }));
    let nack = plane.heard("nack", CLUSTER)["message"].to_string();
    assert!(nack.contains("original") && nack.contains("ORIGINAL_DST") && nack.contains("broken"), "{nack}");
    eventually("the good one", async || proxy.page("/clusters").await.get("other").map(drop)).await;
    let status = state(&proxy).await;
    assert!(status["refused"].to_string().contains("ORIGINAL_DST"), "{status}");
    assert!(proxy.page("/status").await["warnings"].to_string().contains("are refused"));

    // What only shows when it is done: an address that somebody else has.
    let somebody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut twin = listener("twin", "routes");
    twin["address"]["socket_address"]["port_value"] = json!(somebody.local_addr().unwrap().port());
    plane.say(&json!({ "set": { LISTENER: { "twin": twin, "third": listener("third", "routes") } } }));
    let nack = plane.heard("nack", LISTENER)["message"].to_string();
    assert!(nack.contains("twin") && !nack.contains("third"), "{nack}");
    says(&proxy, "third", "a").await;

    // Mended, it is taken, and nothing is left of the refusal.
    plane.set(LISTENER, "twin", listener("twin", "routes"));
    says(&proxy, "twin", "a").await;
    plane.say(&json!({ "set": { CLUSTER: { "original": cluster("original"), "broken": cluster("broken") } } }));
    eventually("nothing refused", async || state(&proxy).await["refused"].as_array()?.is_empty().then_some(())).await;
    assert_eq!(get(taken, "/", "").await.text(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_control_plane_a_proxy_goes_on_and_starts_from_disk() {
    let Some((plane, _a, mut proxy)) = served().await else { return };
    let port = plane.port;
    drop(plane);
    eventually("the loss to be told", async || (state(&proxy).await["connected"] == false).then_some(())).await;
    says(&proxy, "web", "a").await;
    assert!(proxy.page("/status").await["warnings"].to_string().contains("control plane ads is not there"));

    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.restart(&[]).await;
    assert_eq!(proxy.listeners(), ["web"]);
    says(&proxy, "web", "a").await;
    eventually("its state to be read", async || (state(&proxy).await["from_disk"] == true).then_some(())).await;

    // It comes back without anything, and what comes counts again.
    let Some(mut plane) = ControlPlane::start_at(port) else { return };
    let b = Upstream::says("b").await;
    // Its versions are numbers: those of before mean something else.
    (0..10).for_each(|_| plane.say(&json!({})));
    site(&mut plane, &[&b]);
    says(&proxy, "web", "b").await;
}

async fn a_control_plane_forgets(mode: &str) {
    let Some(mut plane) = ControlPlane::start() else { return };
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let proxy = follower(&plane, &format!(", mode: {mode}, fetch_timeout: 5s")).await;
    site(&mut plane, &[&a]);
    says(&proxy, "web", "a").await;
    let (address, port) = (bound(&proxy, "web").await, plane.port);
    drop(plane);
    let Some(mut plane) = ControlPlane::start_at(port) else { return };
    plane.heard("ack", CLUSTER);
    plane.heard("ack", LISTENER);
    assert_eq!(get(address, "/", "").await.text(), "a");
    assert_eq!(bound(&proxy, "web").await, address);
    assert_eq!(state(&proxy).await["resources"]["listener"]["count"], 1);
    assert!(proxy.page("/status").await["warnings"].to_string().contains("2 resources stay"));

    // It knows something else now: what it does not name is gone.
    (0..10).for_each(|_| plane.say(&json!({})));
    plane.set(LISTENER, "other", listener("other", "routes"));
    plane.set(ROUTES, "routes", routes("routes", "/", "app"));
    plane.set(ENDPOINTS, "app", endpoints("app", &[&b]));
    plane.set(CLUSTER, "app", cluster("app"));
    says(&proxy, "other", "b").await;
    if mode == "delta" {
        // It has named one, and had time to name the others.
        let late =
            async || (proxy.page("/status").await["control_planes"]["ads"]["forgotten"] != json!([])).then_some(());
        eventually("what is not named to stay for now", late).await;
        let mut number = 0;
        eventually("time enough", async || {
            number += 1;
            plane.set(LISTENER, "more", listener("more", if number % 2 == 0 { "routes" } else { "others" }));
            proxy.page("/status").await["listeners"].get("web").is_none().then_some(())
        })
        .await;
        plane.remove(LISTENER, "more");
    }
    let gone = async || proxy.page("/status").await["listeners"].get("web").is_none().then_some(());
    eventually("web to be gone", gone).await;
    let remembers = async || (state(&proxy).await["forgotten"] == json!([])).then_some(());
    eventually("nothing to be forgotten", remembers).await;

    // Over a connection that stands it means it; also when it was connected to again meanwhile, and has said that all is as it was.
    if mode == "state_of_the_world" {
        plane.say(&json!({ "drop": true }));
        plane.heard("request", LISTENER);
        plane.heard("ack", LISTENER);
    }
    plane.remove(LISTENER, "other");
    let gone = async || proxy.page("/status").await["listeners"].get("other").is_none().then_some(());
    eventually("all to be gone", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_has_lost_its_memory_takes_nothing_away() {
    a_control_plane_forgets("state_of_the_world").await;
    a_control_plane_forgets("delta").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_keeps_a_control_plane_away_until_it_is_released() {
    let Some((mut plane, _a, proxy)) = served().await else { return };
    let address = bound(&proxy, "web").await;
    plane.set(ROUTES, "routes", routes("routes", "/bad", "app"));
    eventually("the bad update", async || (get(address, "/", "").await.status() == 404).then_some(())).await;

    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    assert_eq!(get(address, "/", "").await.text(), "a");
    let status = proxy.page("/status").await;
    assert!(status["pinned"].is_u64() && status["warnings"].to_string().contains("rollback --release"), "{status}");
    // What comes meanwhile is looked at, and waits.
    plane.set(ROUTES, "routes", routes("routes", "/worse", "app"));
    plane.heard("ack", ROUTES);
    plane.set(CLUSTER, "late", cluster("late"));
    plane.heard("ack", CLUSTER);
    assert_eq!(get(address, "/", "").await.text(), "a");

    let released = proxy.command(&["rollback", "--release"]);
    assert_eq!(released.code, Some(0), "{}", released.stderr);
    assert_eq!(get(address, "/", "").await.status(), 404);
    assert_eq!(get(address, "/worse", "").await.text(), "a");
    assert!(proxy.page("/clusters").await.get("late").is_some());
    assert_eq!(proxy.page("/status").await["pinned"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_over_has_the_listeners_of_the_control_plane_from_the_beginning() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let a = Upstream::says("a").await;
    let mut proxy = follower(&plane, ", mode: delta").await;
    assert_eq!(proxy.ask("/ready").await.status(), 503);
    site(&mut plane, &[&a]);
    says(&proxy, "web", "a").await;
    eventually("the proxy to be ready", async || (proxy.ask("/ready").await.status() == 200).then_some(())).await;
    let address = bound(&proxy, "web").await;
    // Somebody asks all the time, each time anew.
    let (end, ended) = tokio::sync::watch::channel(false);
    let asks = tokio::spawn(async move {
        let mut asked = 0;
        while !*ended.borrow() {
            assert_eq!(get(address, "/", "connection: close\r\n").await.text(), "a");
            asked += 1;
        }
        asked
    });
    let old = proxy.take_over(1);
    assert_eq!(old.code().await, Some(0));
    assert_eq!(bound(&proxy, "web").await, address);
    // It follows the same control plane.
    plane.set(CLUSTER, "late", cluster("late"));
    eventually("another cluster", async || proxy.page("/clusters").await.get("late").map(drop)).await;
    end.send(true).unwrap();
    assert!(asks.await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_goes_on_when_the_control_plane_is_named_anew_or_the_file_is_broken() {
    let Some((mut plane, _a, mut proxy)) = served().await else { return };
    let address = bound(&proxy, "web").await;

    // An edit that nobody has asked to be read is not read because something was sent.
    proxy.rewrite("listeners: [");
    plane.set(CLUSTER, "late", cluster("late"));
    eventually("another cluster", async || proxy.page("/clusters").await.get("late").map(drop)).await;

    // Another task listens, to nobody: what runs is not known to it, and stays.
    let port = plane.port;
    drop(plane);
    let yaml = format!("control_planes: {{ ads: {{ grpc: '127.0.0.1:{port}', mode: delta, fetch_timeout: 1s }} }}\n");
    proxy.reload(&yaml).await;
    // What was heard last may still be being written.
    let kept = proxy.path("kept/control-planes");
    eventually("nothing kept", async || std::fs::remove_dir_all(&kept).is_ok().then_some(())).await;
    let yaml = format!("control_planes: {{ ads: {{ grpc: '127.0.0.1:{port}', fetch_timeout: 1s }} }}\n");
    proxy.reload(&yaml).await;
    eventually("the end of its patience", async || (proxy.ask("/ready").await.status() == 200).then_some(())).await;
    assert_eq!(get(address, "/", "").await.text(), "a");

    // Somebody comes, and says other things: what is not said any more is gone.
    let Some(mut plane) = ControlPlane::start_at(port) else { return };
    let b = Upstream::says("b").await;
    site(&mut plane, &[&b]);
    says(&proxy, "web", "b").await;
    eventually("no other cluster", async || proxy.page("/clusters").await.get("late").is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_any_more_of_what_is_on_disk_does_not_take_the_rest_with_it() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let a = Upstream::says("a").await;
    let mut proxy = follower(&plane, ", mode: delta").await;
    site(&mut plane, &[&a]);
    plane.set(CLUSTER, "other", cluster("other"));
    says(&proxy, "web", "a").await;
    eventually("the other cluster", async || proxy.page("/clusters").await.get("other").map(drop)).await;
    let port = plane.port;
    drop(plane);
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.rewrite(&format!(
        "control_planes: {{ ads: {{ grpc: '127.0.0.1:{port}', mode: delta }} }}\nclusters: {{ other: {{ endpoints: [] }} }}\n"
    ));
    proxy.restart(&[]).await;
    says(&proxy, "web", "a").await;
    let audit = proxy.page("/audit").await.to_string();
    assert!(audit.contains("cluster \\\"other\\\"") && audit.contains("defined twice"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_outlives_the_process() {
    let Some((mut plane, _a, mut proxy)) = served().await else { return };
    let address = bound(&proxy, "web").await;
    plane.set(ROUTES, "routes", routes("routes", "/bad", "app"));
    eventually("the bad update", async || (get(address, "/", "").await.status() == 404).then_some(())).await;
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.restart(&[]).await;
    eventually("the control plane", async || (state(&proxy).await["connected"] == true).then_some(())).await;
    plane.set(CLUSTER, "late", cluster("late"));
    plane.heard("ack", CLUSTER);
    let status = proxy.page("/status").await;
    assert!(status["pinned"].is_u64(), "{status}");
    assert_eq!(get(bound(&proxy, "web").await, "/", "").await.text(), "a");
    assert_eq!(proxy.command(&["rollback", "--release"]).code, Some(0));
    assert_eq!(get(bound(&proxy, "web").await, "/", "").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_the_file_needs_stays_with_its_endpoints_until_it_does_not() {
    let Some((mut plane, _a, mut proxy)) = served().await else { return };
    plane.set(CLUSTER, "kept", cluster("kept"));
    let b = Upstream::says("b").await;
    plane.set(ENDPOINTS, "kept", endpoints("kept", &[&b]));
    eventually("the cluster", async || proxy.page("/clusters").await.get("kept").map(drop)).await;
    let planes = format!("control_planes: {{ ads: {{ grpc: '127.0.0.1:{}', mode: delta }} }}\n", plane.port);
    proxy.reload(&format!("{planes}listeners: {{ own: {{ address: '127.0.0.1:0', cluster: kept }} }}\n")).await;
    says(&proxy, "own", "b").await;
    plane.remove(CLUSTER, "kept");
    eventually("the refusal", async || {
        proxy.page("/audit").await.to_string().contains("\\\"kept\\\" was removed and stays").then_some(())
    })
    .await;
    // Its endpoints are still asked for.
    let c = Upstream::says("c").await;
    plane.set(ENDPOINTS, "kept", endpoints("kept", &[&c]));
    says(&proxy, "own", "c").await;
    // With the first update after which nothing needs it, it goes.
    proxy.reload(&planes).await;
    plane.set(CLUSTER, "other", cluster("other"));
    eventually("its end", async || proxy.page("/clusters").await.get("kept").is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_the_file_asks_a_control_plane_for_its_endpoints_alone() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let a = Upstream::says("a").await;
    let yaml = format!(
        "control_planes: {{ ads: {{ grpc: '127.0.0.1:{}', resources: [] }} }}\n\
         listeners: {{ web: {{ address: '127.0.0.1:0', cluster: app }} }}\n\
         clusters: {{ app: {{ discovery: {{ xds: ads, service: users }} }} }}\n",
        plane.port
    );
    let proxy = Launch::new(yaml).start().await;
    assert_eq!(plane.heard("request", ENDPOINTS)["names"], json!(["users"]));
    assert_eq!(proxy.get("/").await.status(), 503);
    plane.set(ENDPOINTS, "users", endpoints("users", &[&a]));
    eventually("an endpoint", async || (proxy.get("/").await.text() == "a").then_some(())).await;
    let page = proxy.page("/clusters").await["app"].clone();
    assert_eq!(page["discovery"]["source"], "xds", "{page}");
    // An endpoint that cannot be is refused, and what was known stays.
    let mut bad = endpoints("users", &[&a]);
    bad["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] = json!(70_000);
    plane.set(ENDPOINTS, "users", bad);
    let nack = plane.heard("nack", ENDPOINTS)["message"].to_string();
    assert!(nack.contains("users") && nack.contains("70000"), "{nack}");
    assert_eq!(proxy.get("/").await.text(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_control_plane_is_shown_and_renewed_and_can_be_gone_back_to() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let a = Upstream::says("a").await;
    let mut proxy = follower(&plane, "").await;
    let secret = |authority: &tls::Authority| {
        let pair = authority.issue(&["localhost"]);
        json!({ "name": "site", "tls_certificate": {
            "certificate_chain": { "inline_string": pair.pem }, "private_key": { "inline_string": pair.key },
        } })
    };
    let (first, second) = (tls::Authority::new(), tls::Authority::new());
    let mut web = listener("web", "routes");
    web["filter_chains"][0]["transport_socket"] = json!({ "name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": { "tls_certificate_sds_secret_configs": [{ "name": "site", "sds_config": source() }] },
    } });
    site(&mut plane, &[&a]);
    plane.set(LISTENER, "web", web);
    plane.set(SECRET, "site", secret(&first));
    for authority in [&first, &second] {
        plane.set(SECRET, "site", secret(authority));
        let address = bound(&proxy, "web").await;
        // A client trusts one of the two.
        let client = authority.client(None, &["http/1.1"]);
        eventually("the certificate", async || tls::connect(address, client.clone(), "localhost").await.ok().map(drop))
            .await;
    }
    // Also by a process that begins with it, while the control plane says something else.
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.restart(&[]).await;
    let client = first.client(None, &["http/1.1"]);
    tls::connect(bound(&proxy, "web").await, client, "localhost").await.unwrap();
}
