//! Endpoints that are found in files, at registries and by name: who comes, who goes, and what changes nothing.

mod chaos;
mod dns;
mod sentinel;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU16, Ordering},
};

use serde_json::{Value, json};

use crate::support::{Launch, Proxy, Reply, Site, Upstream, eventually};

/// In the form of a registration.
fn hosts(upstreams: &[&Upstream]) -> String {
    let one = |upstream: &&Upstream| json!({ "ip_address": upstream.address.ip(), "port": upstream.address.port() });
    json!({ "service": "users", "hosts": upstreams.iter().map(one).collect::<Vec<_>>() }).to_string()
}

async fn cluster(proxy: &Proxy) -> Value {
    proxy.page("/clusters").await["app"].clone()
}

/// Ports of the endpoints.
async fn ports(proxy: &Proxy) -> Vec<u64> {
    let page = cluster(proxy).await;
    let port = |endpoint: &Value| endpoint["address"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    page["endpoints"].as_array().unwrap().iter().map(port).collect()
}

#[track_caller]
fn become_<'a>(proxy: &'a Proxy, upstreams: &'a [&'a Upstream]) -> impl Future<Output = ()> + 'a {
    let wanted: Vec<u64> = upstreams.iter().map(|upstream| upstream.address.port().into()).collect();
    eventually(format!("endpoints {wanted:?}"), async move || (ports(proxy).await == wanted).then_some(()))
}

/// A registry that says whatever it is told to.
struct Registry {
    upstream: Upstream,
    says: Arc<Mutex<String>>,
    status: Arc<AtomicU16>,
}

impl Registry {
    async fn new(says: String) -> Self {
        let (says, status) = (Arc::new(Mutex::new(says)), Arc::new(AtomicU16::new(200)));
        let (now, code) = (Arc::clone(&says), Arc::clone(&status));
        let upstream = Upstream::http(move |_| match code.load(Ordering::SeqCst) {
            200 => Reply::ok(now.lock().unwrap().clone()),
            other => Reply::new(other),
        })
        .await;
        Self { upstream, says, status }
    }

    fn say(&self, text: String) {
        *self.says.lock().unwrap() = text;
    }

    fn site(&self, more: &str) -> Site {
        let url = format!("http://{}/v1/registration/users", self.upstream.address);
        Site::app("", &format!("discovery: {{ rest: '{url}', refresh: 1s }}{more}"))
    }
}

const OUTCOMES: &str = "fyke_cluster_discovery_total";

#[tokio::test]
async fn a_file_is_followed_and_nonsense_in_it_is_not() {
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let site = Site::app("", "discovery: { file: hosts.json }");
    let proxy = Launch::new(site.yaml()).file("hosts.json", hosts(&[&a])).start().await;
    assert_eq!(proxy.get("/").await.text(), "a");
    let replace = |text: String| {
        std::fs::write(proxy.path("next"), text).unwrap();
        std::fs::rename(proxy.path("next"), proxy.path("hosts.json")).unwrap();
    };
    replace(hosts(&[&b]));
    become_(&proxy, &[&b]).await;
    assert_eq!(proxy.get("/").await.text(), "b");
    // Torn, and empty.
    replace("{\"hosts\": [".to_owned());
    proxy.metric_reaches(OUTCOMES, &[("cluster", "app"), ("outcome", "malformed")], 1.0).await;
    replace(hosts(&[]));
    proxy.metric_reaches(OUTCOMES, &[("cluster", "app"), ("outcome", "empty")], 1.0).await;
    assert_eq!(proxy.get("/").await.text(), "b");
    let page = cluster(&proxy).await;
    assert_eq!((page["discovery"]["source"].as_str(), page["discovery"]["hosts"].as_u64()), (Some("file"), Some(1)));
    assert_eq!(page["discovery"]["failure"], "it names no endpoint, which changes nothing");
    let status = proxy.page("/status").await;
    assert!(status["warnings"].to_string().contains("discovery changes nothing"), "{status}");
    replace(hosts(&[&a, &b]));
    become_(&proxy, &[&a, &b]).await;
    assert_eq!(cluster(&proxy).await["discovery"]["failure"], Value::Null);
    std::fs::remove_file(proxy.path("hosts.json")).unwrap();
    proxy.metric_reaches(OUTCOMES, &[("cluster", "app"), ("outcome", "unreachable")], 1.0).await;
    assert_eq!(ports(&proxy).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_gone_wrong_or_empty_removes_nobody() {
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let registry = Registry::new(hosts(&[&a])).await;
    let proxy = registry.site("").start().await;
    // Waited for: the very first request finds an endpoint.
    assert_eq!(proxy.get("/").await.text(), "a");
    registry.status.store(503, Ordering::SeqCst);
    proxy.metric_reaches(OUTCOMES, &[("outcome", "unreachable")], 1.0).await;
    registry.status.store(200, Ordering::SeqCst);
    registry.say(hosts(&[]));
    proxy.metric_reaches(OUTCOMES, &[("outcome", "empty")], 1.0).await;
    registry.say("{\"hosts\":[{\"ip_address\":\"127.0.0.1\",\"port\":70000}]}".to_owned());
    proxy.metric_reaches(OUTCOMES, &[("outcome", "malformed")], 1.0).await;
    proxy.logged(&["hosts[0].port: must be 1 to 65535, not 70000"]).await;
    assert_eq!(proxy.get("/").await.text(), "a");
    registry.say(hosts(&[&b]));
    become_(&proxy, &[&b]).await;
    assert_eq!(proxy.get("/").await.text(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_absent_stays_while_it_is_well_and_no_longer() {
    let well = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&well);
    let a = Upstream::http(move |request| match request.path() {
        "/healthz" => Reply::new(now.load(Ordering::SeqCst)),
        _ => Reply::ok("a"),
    })
    .await;
    let b = Upstream::says("b").await;
    let registry = Registry::new(hosts(&[&a])).await;
    let check = ", health_check: { http: /healthz, interval: 50ms, no_traffic_interval: 50ms, unhealthy: 1 }";
    let proxy = registry.site(check).start().await;
    let proxy = &proxy;
    eventually("a to be healthy", async || (cluster(proxy).await["endpoints"][0]["health"] == "healthy").then_some(()))
        .await;
    registry.say(hosts(&[&b]));
    // Discovered, and absent but healthy: both.
    become_(proxy, &[&b, &a]).await;
    let page = cluster(proxy).await;
    assert_eq!(page["endpoints"][1]["reasons"][0], "no longer discovered");
    eventually("a to be asked though it is absent", async || (proxy.get("/").await.text() == "a").then_some(())).await;
    well.store(500, Ordering::SeqCst);
    become_(proxy, &[&b]).await;
    proxy.logged(&["endpoint is forgotten", &a.address.to_string()]).await;
    assert_eq!(proxy.get("/").await.text(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_starts_without_its_registry_serves_from_disk() {
    let a = Upstream::says("a").await;
    let registry = Registry::new(hosts(&[&a])).await;
    let mut proxy = Proxy::start(format!("state: state\n{}", registry.site("").yaml())).await;
    assert_eq!(proxy.get("/").await.text(), "a");
    registry.status.store(500, Ordering::SeqCst);
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    proxy.restart(&[]).await;
    assert_eq!(proxy.get("/").await.text(), "a");
    assert_eq!(cluster(&proxy).await["discovery"]["from_disk"], true);
    registry.status.store(200, Ordering::SeqCst);
    eventually("the registry to be heard", async || {
        (cluster(&proxy).await["discovery"]["from_disk"] == false).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_whom_discovery_has_found() {
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let registry = Registry::new(hosts(&[&a])).await;
    let mut proxy = registry.site("").start().await;
    assert_eq!(proxy.get("/").await.text(), "a");
    registry.status.store(500, Ordering::SeqCst);
    proxy.reload(&registry.site(", connect_timeout: 3s").yaml()).await;
    assert_eq!(proxy.get("/").await.text(), "a");
    registry.say(hosts(&[&b]));
    registry.status.store(200, Ordering::SeqCst);
    become_(&proxy, &[&b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_rest_form_brings_zones_and_weights() {
    let a = Upstream::says("a").await;
    let lb = json!({ "endpoint": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": a.address.port() } } }, "load_balancing_weight": 7 });
    let assignment =
        json!({ "cluster_name": "users", "endpoints": [{ "locality": { "zone": "eu-1b" }, "lb_endpoints": [lb] }] });
    let registry = Registry::new(json!({ "version_info": "3", "resources": [assignment] }).to_string()).await;
    let url = format!("http://{}/v3/discovery:endpoints", registry.upstream.address);
    let site = Site::app("", &format!("discovery: {{ rest: '{url}', service: users, refresh: 1s }}"));
    let proxy = site.start().await;
    assert_eq!(proxy.get("/").await.text(), "a");
    let page = cluster(&proxy).await;
    assert_eq!(
        (page["endpoints"][0]["zone"].as_str(), page["endpoints"][0]["weight"].as_u64()),
        (Some("eu-1b"), Some(7))
    );
    assert_eq!(page["discovery"]["version"], "3");
    assert_eq!(registry.upstream.last().method(), "POST");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_name() {
    let refused = |discovery: &str| {
        let site = Site::app("", &format!("discovery: {discovery}"));
        crate::config_errors::refused(&site.yaml(), &[])
    };
    for (discovery, words) in [
        ("{}", "discovery has exactly one of dns, srv, file, rest, sentinel and xds"),
        ("{ dns: users.internal }", "is not a name and a port"),
        ("{ dns: 'users.internal:0' }", "is not a name and a port"),
        ("{ dns: 'a b:80' }", "is not the name of a host"),
        ("{ srv: users.internal }", "is not the name of a service"),
        ("{ rest: users.internal }", "is not the URL of a registry"),
        ("{ file: hosts.json, mode: logical }", "`mode` says nothing about `file`"),
    ] {
        let said = refused(discovery);
        assert!(said.contains(words), "{discovery}: {said}");
    }
}
