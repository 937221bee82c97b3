//! What is known of endpoints outlives changes of the configuration, and what nobody would correct does not.

use super::{Patient, SOON, becomes, endpoint};
use crate::support::{Proxy, Site, endpoints, eventually};

fn site(a: &Patient, b: &Patient, check: &str, more: &str) -> Site {
    let cluster =
        format!("load_balancer: round_robin, {check}{more}{}", endpoints(&[a.upstream.address, b.upstream.address]));
    Site::app("", &cluster)
}

fn check() -> String {
    format!("health_check: {{ http: /healthz, {SOON} }}, ")
}

async fn with_one_down() -> (Patient, Patient, Proxy) {
    let (a, b) = (Patient::new("a").await, Patient::new("b").await);
    a.is(503);
    let proxy = site(&a, &b, &check(), "").start().await;
    becomes(&proxy, 0, "unhealthy").await;
    becomes(&proxy, 1, "healthy").await;
    (a, b, proxy)
}

#[tokio::test]
async fn a_change_of_something_else_keeps_health_and_does_not_check_anew() {
    let (a, b, mut proxy) = with_one_down().await;
    let connections = b.upstream.connections();
    let next = site(&a, &b, &check(), "").route("match: { path: /other }, respond: { status: 204 }");
    proxy.reload(&next.yaml()).await;
    assert_eq!(endpoint(&proxy, 0).await["health"], "unhealthy");
    for _ in 0..10 {
        assert_eq!(proxy.get("/x").await.text(), "b");
    }
    assert!(b.upstream.connections() <= connections + 2, "checks go on over the connection that they had");
    assert_eq!(a.served(), 0);
}

#[tokio::test]
async fn a_change_of_the_cluster_itself_keeps_health_too() {
    let (a, b, mut proxy) = with_one_down().await;
    for round in 1..=5 {
        proxy.reload(&site(&a, &b, &check(), &format!("connect_timeout: {round}s, ")).yaml()).await;
        for _ in 0..4 {
            assert_eq!(proxy.get("/x").await.text(), "b");
        }
    }
    assert_eq!(a.served(), 0);
    a.is(200);
    becomes(&proxy, 0, "healthy").await;
    eventually("it to get requests again", async || (proxy.get("/x").await.text() == "a").then_some(())).await;
}

#[tokio::test]
async fn without_the_check_nothing_is_held_against_an_endpoint_any_more() {
    let (a, b, mut proxy) = with_one_down().await;
    proxy.reload(&site(&a, &b, "", "").yaml()).await;
    eventually("it to get requests again", async || (proxy.get("/x").await.text() == "a").then_some(())).await;
    let page = endpoint(&proxy, 0).await;
    assert_eq!((page["health"].as_str(), page["reasons"].as_array().unwrap().len()), (Some("healthy"), 0), "{page}");
    // Nobody is asked any more: the tasks of the generation before are gone.
    let checks = |patient: &Patient| patient.upstream.seen().iter().filter(|seen| seen.path() == "/healthz").count();
    eventually("the checks to end", async || {
        let before = checks(&a) + checks(&b);
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        (checks(&a) + checks(&b) == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn checks_do_not_pile_up_over_reloads() {
    let (a, b, mut proxy) = with_one_down().await;
    for round in 1..=10 {
        proxy.reload(&site(&a, &b, &check(), &format!("connect_timeout: {round}s, ")).yaml()).await;
    }
    eventually("one connection of one checker to be left", async || (b.upstream.open() <= 1).then_some(())).await;
    becomes(&proxy, 1, "healthy").await;
}

#[tokio::test]
async fn an_endpoint_that_is_taken_out_is_not_asked_any_more() {
    let (a, b, mut proxy) = with_one_down().await;
    let cluster = format!("{}{}", check(), endpoints(&[b.upstream.address]));
    proxy.reload(&Site::app("", &cluster).yaml()).await;
    eventually("the checks to end", async || (a.upstream.open() == 0).then_some(())).await;
    assert_eq!(proxy.metric("fyke_cluster_endpoints", &[("cluster", "app"), ("health", "unhealthy")]).await, 0.0);
    assert_eq!(proxy.get("/x").await.text(), "b");
}
