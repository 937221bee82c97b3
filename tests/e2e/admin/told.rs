//! What is told as events when health, outliers, overload, canaries and the process itself change.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Proxy, Reply, Site, Upstream, endpoints, eventually, proxy::plain};

/// The first event of this kind that is kept.
async fn told(proxy: &Proxy, kind: &str) -> Value {
    let path = format!("/v1/events?format=json&kind={kind}");
    eventually(format!("an event of the kind {kind}"), async || {
        proxy.page(&path).await["events"].as_array()?.first().cloned()
    })
    .await
}

/// An endpoint whose answers have this status.
async fn moody() -> (Upstream, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&status);
    (Upstream::http(move |_| Reply::new(now.load(Ordering::SeqCst))).await, status)
}

#[tokio::test]
async fn an_endpoint_that_fails_its_checks_is_told_and_so_is_its_return() {
    let (upstream, status) = moody().await;
    let check = "health_check: { http: /healthz, interval: 50ms, no_traffic_interval: 50ms, healthy: 1, unhealthy: 1 }";
    let proxy = Site::app("", &format!("{check}, {}", endpoints(&[upstream.address]))).start().await;
    status.store(503, Ordering::SeqCst);
    let event = told(&proxy, "endpoint_health").await;
    assert_eq!((&event["subject"], &event["level"]), (&"app".into(), &"warning".into()), "{event}");
    let address = upstream.address.to_string();
    assert_eq!(
        (&event["fields"]["address"], &event["fields"]["health"]),
        (&address.into(), &"unhealthy".into()),
        "{event}"
    );
    assert!(event["message"].as_str().unwrap().contains("503"), "{event}");
    status.store(200, Ordering::SeqCst);
    let back = told(&proxy, "endpoint_recovered").await;
    assert_eq!((&back["fields"]["health"], &back["level"]), (&"healthy".into(), &"info".into()), "{back}");
}

#[tokio::test]
async fn an_ejection_is_told_and_so_is_its_end() {
    let ((bad, status), (good, _)) = (moody().await, moody().await);
    let detection = "outlier_detection: { consecutive_5xx: 3, interval: 100ms, ejection: 300ms, max_ejected: 50% }";
    let list = endpoints(&[bad.address, good.address]);
    let proxy = Site::app("", &format!("load_balancer: round_robin, {detection}, {list}")).start().await;
    status.store(500, Ordering::SeqCst);
    for _ in 0..8 {
        proxy.get("/").await;
    }
    let event = told(&proxy, "endpoint_ejected").await;
    assert_eq!(
        (&event["subject"], &event["fields"]["address"]),
        (&"app".into(), &bad.address.to_string().into()),
        "{event}"
    );
    status.store(200, Ordering::SeqCst);
    assert_eq!(told(&proxy, "endpoint_unejected").await["subject"], "app");
}

#[tokio::test]
async fn an_overload_is_told_and_so_is_its_end() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(format!("limits: {{ connections: 10 }}\n{}", plain(upstream.address))).await;
    let mut open = Vec::new();
    for _ in 0..9 {
        let mut conn = proxy.connect().await;
        conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        open.push(conn);
    }
    let event = told(&proxy, "overload").await;
    assert_eq!((&event["subject"], &event["level"]), (&"disable_keep_alive".into(), &"warning".into()), "{event}");
    drop(open);
    assert_eq!(told(&proxy, "overload_over").await["subject"], "disable_keep_alive");
}

#[tokio::test]
async fn a_canary_is_told_from_its_beginning_to_its_end() {
    let upstream = Upstream::says("x").await;
    let proxy = Site::app("", &endpoints(&[upstream.address])).start().await;
    let version = r#"{ "module": "builtin:router" }"#;
    let (status, answer) = proxy.change("PUT", "/v1/filters/router?canary=5%25", "application/json", version).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(told(&proxy, "canary_started").await["subject"], "router");
    assert_eq!(proxy.act("/v1/filters/router/abort", "").await.0, 200);
    let ended = told(&proxy, "canary_ended").await;
    assert_eq!((&ended["subject"], &ended["level"]), (&"router".into(), &"info".into()), "{ended}");
}

#[tokio::test]
async fn a_drain_is_told_while_it_lasts() {
    let upstream = Upstream::says("x").await;
    let mut proxy = Proxy::plain(upstream.address).await;
    let mut busy = proxy.connect().await;
    // Half a request: it goes on until its other half comes.
    busy.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na").await;
    proxy.metric_reaches("fyke_listener_requests_active", &[("listener", "web")], 1.0).await;
    proxy.signal(Signal::TERM);
    let event = told(&proxy, "drain").await;
    assert_eq!((&event["subject"], &event["level"]), (&"".into(), &"info".into()), "{event}");
    busy.send("b").await;
    assert_eq!(busy.response("POST").await.status(), 200);
    assert_eq!(proxy.ended().await, Some(0));
}
