//! Endpoints that answer badly are left out for a while, by what requests tell of them.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use crate::support::{Proxy, Reply, Site, Upstream, endpoints, eventually, upstream::Refusing};

/// An endpoint that answers with this status, and its name.
async fn moody(name: &'static str) -> (Upstream, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&status);
    let upstream = Upstream::http(move |_| match now.load(Ordering::SeqCst) {
        200 => Reply::ok(name),
        status => Reply::new(status),
    })
    .await;
    (upstream, status)
}

fn site(addresses: &[std::net::SocketAddr], detection: &str) -> Site {
    Site::app(
        "",
        &format!("load_balancer: round_robin, outlier_detection: {{ {detection} }}, {}", endpoints(addresses)),
    )
}

async fn health(proxy: &Proxy, place: usize) -> String {
    proxy.page("/clusters").await["app"]["endpoints"][place]["health"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn errors_in_a_row_eject_and_time_brings_back() {
    let ((bad, mood), (good, _)) = (moody("bad").await, moody("good").await);
    let detection = "consecutive_5xx: 3, interval: 100ms, ejection: 6s, max_ejected: 50%";
    let proxy = site(&[bad.address, good.address], detection).start().await;
    mood.store(500, Ordering::SeqCst);
    let mut failed = 0;
    for _ in 0..12 {
        failed += usize::from(proxy.get("/x").await.status() == 500);
    }
    assert_eq!((failed, bad.seen().len()), (3, 3), "after three errors it gets nothing");
    let page = proxy.page("/clusters").await;
    assert_eq!(page["app"]["endpoints"][0]["reasons"][0], "ejected as an outlier", "{page}");
    proxy.logged(&["outlier", &bad.address.to_string(), "app"]).await;
    assert_eq!(
        proxy.metric("fyke_cluster_ejections_total", &[("cluster", "app"), ("reason", "consecutive_5xx")]).await,
        1.0
    );
    assert_eq!(proxy.metric("fyke_cluster_endpoints", &[("cluster", "app"), ("health", "ejected")]).await, 1.0);
    mood.store(200, Ordering::SeqCst);
    eventually("it to be back", async || (proxy.get("/x").await.text() == "bad").then_some(())).await;
    assert_eq!(health(&proxy, 0).await, "healthy");
}

#[tokio::test]
async fn one_good_answer_begins_the_count_anew() {
    let ((moody, mood), (good, _)) = (moody("moody").await, moody("good").await);
    let detection = "consecutive_5xx: 3, max_ejected: 50%";
    let proxy = site(&[moody.address, good.address], detection).start().await;
    for round in 0..12 {
        mood.store(if round % 3 == 2 { 200 } else { 503 }, Ordering::SeqCst);
        // In turn: one request for each of them.
        proxy.get("/x").await;
        proxy.get("/x").await;
    }
    assert_eq!(moody.seen().len(), 12);
    assert_eq!(health(&proxy, 0).await, "healthy");
}

#[tokio::test]
async fn failures_to_connect_count_and_no_more_than_allowed_are_ejected() {
    let refusing: Vec<_> = (0..3).map(|_| Refusing::new()).collect();
    let good = Upstream::says("good").await;
    let addresses = [refusing[0].address, refusing[1].address, refusing[2].address, good.address];
    let proxy = site(&addresses, "consecutive_5xx: 2, max_ejected: 50%, ejection: 60s").start().await;
    for _ in 0..40 {
        proxy.get("/x").await;
    }
    let page = proxy.page("/clusters").await;
    let ejected =
        page["app"]["endpoints"].as_array().unwrap().iter().filter(|one| one["health"] == "unhealthy").count();
    assert_eq!(ejected, 2, "half of four: {page}");
    assert!(proxy.metric("fyke_cluster_outliers_detected_total", &[("cluster", "app")]).await >= 3.0);
    assert_eq!(proxy.metric("fyke_cluster_ejections_total", &[("cluster", "app")]).await, 2.0);
    let before = good.seen().len();
    for _ in 0..10 {
        proxy.get("/x").await;
    }
    assert_eq!(good.seen().len() - before, 5, "the good one and the bad one that may stay take turns");
}

#[tokio::test]
async fn several_workers_count_together_closely_enough() {
    let ((bad, mood), (good, _)) = (moody("bad").await, moody("good").await);
    mood.store(503, Ordering::SeqCst);
    let detection = "consecutive_5xx: 5, max_ejected: 50%, ejection: 60s";
    let proxy = site(&[bad.address, good.address], detection).workers(4).await;
    for _ in 0..80 {
        proxy.get("/x").await;
    }
    assert_eq!(health(&proxy, 0).await, "unhealthy");
    assert!(bad.seen().len() <= 20, "{} requests reached it", bad.seen().len());
    let before = bad.seen().len();
    for _ in 0..20 {
        assert_eq!(proxy.get("/x").await.text(), "good");
    }
    assert_eq!(bad.seen().len(), before);
}

#[tokio::test]
async fn an_ejection_outlives_a_reload_and_goes_with_the_detection() {
    let ((bad, mood), (good, _)) = (moody("bad").await, moody("good").await);
    mood.store(500, Ordering::SeqCst);
    let all = [bad.address, good.address];
    let mut proxy = site(&all, "consecutive_5xx: 2, max_ejected: 50%, ejection: 60s").start().await;
    for _ in 0..8 {
        proxy.get("/x").await;
    }
    assert_eq!((health(&proxy, 0).await.as_str(), bad.seen().len()), ("unhealthy", 2));
    proxy.reload(&site(&all, "consecutive_5xx: 3, max_ejected: 50%, ejection: 60s").yaml()).await;
    for _ in 0..6 {
        assert_eq!(proxy.get("/x").await.text(), "good");
    }
    proxy.reload(&Site::app("", &format!("load_balancer: round_robin, {}", endpoints(&all))).yaml()).await;
    mood.store(200, Ordering::SeqCst);
    eventually("it to be back", async || (proxy.get("/x").await.text() == "bad").then_some(())).await;
}

/// Sends requests until the first endpoint is left out, and says by which rule.
async fn is_left_out(proxy: &Proxy, reason: &str) {
    eventually("the endpoint to be ejected", async || {
        for _ in 0..8 {
            proxy.get("/x").await;
        }
        (health(proxy, 0).await == "unhealthy").then_some(())
    })
    .await;
    let labels = [("cluster", "app"), ("reason", reason)];
    assert_eq!(proxy.metric("fyke_cluster_ejections_total", &labels).await, 1.0);
}

/// Four endpoints, of which the first fails every other time: never twice in a row.
async fn one_of_four_fails_by_turns() -> ([Upstream; 4], Vec<std::net::SocketAddr>) {
    let count = Arc::new(AtomicU16::new(0));
    let bad = Upstream::http(move |_| match count.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Reply::new(500),
        _ => Reply::ok("bad"),
    })
    .await;
    let all = [bad, Upstream::says("a").await, Upstream::says("b").await, Upstream::says("c").await];
    let addresses = all.iter().map(|upstream| upstream.address).collect();
    (all, addresses)
}

#[tokio::test]
async fn whoever_succeeds_much_less_often_than_the_others_is_left_out() {
    let (_all, addresses) = one_of_four_fails_by_turns().await;
    let rate = "success_rate: { minimum_endpoints: 3, requests: 10, deviations: 1 }";
    let proxy = site(&addresses, &format!("interval: 300ms, ejection: 60s, {rate}")).start().await;
    is_left_out(&proxy, "success_rate").await;
}

#[tokio::test]
async fn whoever_fails_more_often_than_is_allowed_is_left_out() {
    let (_all, addresses) = one_of_four_fails_by_turns().await;
    let rates =
        "success_rate: { enabled: false }, failure_percentage: { threshold: 40%, minimum_endpoints: 3, requests: 10 }";
    let proxy = site(&addresses, &format!("interval: 300ms, ejection: 60s, {rates}")).start().await;
    is_left_out(&proxy, "failure_percentage").await;
}
