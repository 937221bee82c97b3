//! Active health checks: who is asked how, who is left out and why, and who comes back.

mod kinds;
mod reloads;

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use serde_json::Value;

use crate::support::{Proxy, Reply, Site, Upstream, endpoints, eventually, site::Record};

/// Checks that do not keep a test waiting.
const SOON: &str = "interval: 50ms, no_traffic_interval: 50ms, timeout: 2s, healthy: 2, unhealthy: 2";

/// An endpoint that says how it is, and its name to everybody else.
struct Patient {
    upstream: Upstream,
    status: Arc<AtomicU16>,
}

impl Patient {
    async fn new(name: &'static str) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let now = Arc::clone(&status);
        let upstream = Upstream::http(move |request| match request.path() {
            "/healthz" => Reply::new(now.load(Ordering::SeqCst)),
            _ => Reply::ok(name),
        })
        .await;
        Self { upstream, status }
    }

    fn is(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Requests that were no checks.
    fn served(&self) -> usize {
        self.upstream.seen().iter().filter(|seen| seen.path() != "/healthz").count()
    }
}

/// What the page says of an endpoint of the cluster `app`.
async fn endpoint(proxy: &Proxy, place: usize) -> Value {
    proxy.page("/clusters").await["app"]["endpoints"][place].clone()
}

#[track_caller]
fn becomes<'a>(proxy: &'a Proxy, place: usize, health: &'a str) -> impl Future<Output = Value> {
    eventually(format!("endpoint {place} to be {health}"), async move || {
        Some(endpoint(proxy, place).await).filter(|endpoint| endpoint["health"] == health)
    })
}

async fn two(more: &str) -> (Patient, Patient, Proxy) {
    let (a, b) = (Patient::new("a").await, Patient::new("b").await);
    let cluster = format!(
        "load_balancer: round_robin, health_check: {{ http: /healthz, {SOON} }}, {more}{}",
        endpoints(&[a.upstream.address, b.upstream.address])
    );
    let proxy = Site::app("", &cluster).start().await;
    proxy.metric_reaches("fyke_cluster_health_checks_total", &[("cluster", "app"), ("outcome", "passed")], 4.0).await;
    (a, b, proxy)
}

#[tokio::test]
async fn an_endpoint_that_is_not_well_gets_nothing_until_it_is_again() {
    let (a, b, proxy) = two("").await;
    a.is(503);
    let page = becomes(&proxy, 0, "unhealthy").await;
    assert_eq!(page["reasons"][0], "health check failed");
    assert!(page["last_check"].as_str().unwrap().contains("503"), "{page}");
    proxy.logged(&["endpoint is unhealthy", &a.upstream.address.to_string(), "503"]).await;
    assert_eq!(proxy.metric("fyke_cluster_endpoints", &[("cluster", "app"), ("health", "unhealthy")]).await, 1.0);
    assert_eq!(proxy.metric("fyke_cluster_endpoints", &[("cluster", "app"), ("health", "healthy")]).await, 1.0);
    assert!(proxy.metric("fyke_cluster_health_checks_total", &[("outcome", "failed")]).await >= 1.0);
    let before = a.served();
    for _ in 0..10 {
        assert_eq!(proxy.get("/x").await.text(), "b");
    }
    assert_eq!((a.served(), b.served()), (before, 10));
    a.is(200);
    becomes(&proxy, 0, "healthy").await;
    proxy.logged(&["endpoint is healthy"]).await;
    eventually("it to get requests again", async || (proxy.get("/x").await.text() == "a").then_some(())).await;
}

#[tokio::test]
async fn when_all_are_down_all_are_used_unless_the_threshold_is_0() {
    for (more, status) in [("", 200), ("panic_threshold: 0%, ", 503)] {
        let (a, b, proxy) = two(more).await;
        a.is(503);
        b.is(500);
        becomes(&proxy, 0, "unhealthy").await;
        becomes(&proxy, 1, "unhealthy").await;
        let answer = eventually("the plan to follow", async || {
            Some(proxy.get("/x").await).filter(|answer| answer.status() == status)
        })
        .await;
        if status == 503 {
            assert!(answer.text().contains("no_endpoint"), "{answer:?}");
            assert_eq!(Record::of(&proxy, "/x").await.told(), (503, "no_endpoint", "UH"));
            proxy.metric_reaches("fyke_cluster_no_endpoint_total", &[("cluster", "app")], 1.0).await;
            b.is(200);
            eventually("one of them to be back", async || (proxy.get("/y").await.text() == "b").then_some(())).await;
        } else {
            let mut seen = (0..20).map(|_| proxy.get("/x"));
            let mut names = std::collections::BTreeSet::new();
            for answer in &mut seen {
                names.insert(answer.await.text());
            }
            assert_eq!(names.len(), 2, "in a panic both are used: {names:?}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_connected_to_is_down_in_words() {
    let (a, refusing) = (Patient::new("a").await, crate::support::upstream::Refusing::new());
    let cluster =
        format!("health_check: {{ http: /healthz, {SOON} }}, {}", endpoints(&[a.upstream.address, refusing.address]));
    let proxy = Site::app("", &cluster).start().await;
    let page = becomes(&proxy, 1, "unhealthy").await;
    assert_eq!(page["last_check"], "connection refused");
    for _ in 0..10 {
        assert_eq!(proxy.get("/x").await.text(), "a");
    }
    assert_eq!(proxy.metric("fyke_cluster_connect_failures_total", &[("cluster", "app")]).await, 0.0);
}

#[tokio::test]
async fn a_check_that_is_not_answered_in_time_has_failed() {
    let hanging = crate::support::faulty::silent().await;
    let cluster = format!(
        "health_check: {{ http: /healthz, interval: 50ms, no_traffic_interval: 50ms, timeout: 100ms }}, {}",
        endpoints(&[hanging.address])
    );
    let proxy = Site::app("", &cluster).start().await;
    let page = becomes(&proxy, 0, "unhealthy").await;
    assert_eq!(page["last_check"], "no answer within 100ms");
    // Each attempt is closed: an endpoint that never answers does not collect connections.
    hanging.received(10).await;
    assert!(hanging.open() <= 2, "{} connections are open", hanging.open());
}

#[tokio::test]
async fn whoever_comes_back_gets_its_share_by_and_by() {
    for (slow_start, shares) in [("slow_start: { window: 10m, minimum_weight: 10% }, ", 1..=12), ("", 35..=45)] {
        let (a, b, proxy) = two(slow_start).await;
        a.is(503);
        becomes(&proxy, 0, "unhealthy").await;
        a.is(200);
        becomes(&proxy, 0, "healthy").await;
        eventually("it to get requests again", async || (proxy.get("/x").await.text() == "a").then_some(())).await;
        let before = a.served();
        for _ in 0..80 {
            proxy.get("/x").await;
        }
        let share = a.served() - before;
        assert!(shares.contains(&share), "{share} of 80 with {slow_start:?}, and {} for the other", b.served());
    }
}

#[tokio::test]
async fn an_answer_to_a_request_can_say_that_its_endpoint_is_failing() {
    let upstream = Upstream::http(|request| match request.path() {
        "/last" => Reply::ok("last").header("x-envoy-immediate-health-check-fail", "true"),
        _ => Reply::ok("ok"),
    })
    .await;
    // So many checks that nothing makes it healthy again while the test lasts.
    let check = "http: { path: /healthz }, interval: 50ms, no_traffic_interval: 50ms, timeout: 2s, healthy: 100000";
    let cluster = format!("health_check: {{ {check} }}, {}", endpoints(&[upstream.address]));
    let proxy = Site::app("", &cluster).start().await;
    proxy.metric_reaches("fyke_cluster_health_checks_total", &[("outcome", "passed")], 1.0).await;
    assert_eq!(proxy.get("/x").await.text(), "ok");
    assert_eq!(endpoint(&proxy, 0).await["health"], "healthy");
    assert_eq!(proxy.get("/last").await.text(), "last");
    let page = becomes(&proxy, 0, "unhealthy").await;
    assert!(page["last_check"].as_str().unwrap().contains("x-envoy-immediate-health-check-fail"), "{page}");
}
