//! Filters that ask other services.

use std::time::Duration;

use crate::chain::{calling, chain, official};
use crate::support::{Proxy, Reply, Upstream, eventually, upstream::Refusing};

/// A service that knows one user.
async fn authz() -> Upstream {
    Upstream::http(|request| match request.header("authorization") {
        Some("good") => Reply::ok("alice"),
        _ => Reply::new(401),
    })
    .await
}

fn guarded(upstream: &Upstream, authz: std::net::SocketAddr, more: &str) -> String {
    chain(upstream.address, &[("outer", official("tag outer", "")), ("auth", calling("auth authz", "authz", more))])
        + &format!("  authz: {{ endpoints: ['{authz}'] }}\n")
}

#[tokio::test]
async fn a_request_waits_for_the_answer_of_a_callout() {
    let (upstream, authz) = (Upstream::says("secret").await, authz().await);
    let proxy = Proxy::start(guarded(&upstream, authz.address, "")).await;
    let answer = proxy.get_with("/", "authorization: good\r\n").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "secret"));
    assert_eq!(upstream.last().header("x-user"), Some("alice"));
    let asked = authz.last();
    assert_eq!(
        (asked.path(), asked.header("host"), asked.header("authorization")),
        ("/check", Some("authz"), Some("good"))
    );
    assert_eq!(proxy.metric("fyke_filter_callouts_total", &[("filter", "auth")]).await, 1.0);
}

#[tokio::test]
async fn a_callout_that_denies_answers_the_client() {
    let (upstream, authz) = (Upstream::says("secret").await, authz().await);
    let proxy = Proxy::start(guarded(&upstream, authz.address, "")).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a\r\nauthorization: bad\r\n\r\n").await;
        assert_eq!(
            (answer.status(), answer.text().as_str(), answer.header("x-denied")),
            (403, "denied\n", Some("yes"))
        );
        assert_eq!(answer.all("x-chain"), ["outer"]);
    }
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\nauthorization: good\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn a_callout_without_an_answer_is_told_so() {
    let upstream = Upstream::says("secret").await;
    let refusing = Refusing::new();
    let proxy = Proxy::start(guarded(&upstream, refusing.address, "")).await;
    let answer = proxy.get("/").await;
    assert_eq!((answer.status(), answer.text().as_str()), (503, "no answer, 0 headers\n"));
    let silent = Upstream::scripted(|mut conn, _, _| async move {
        conn.rest().await;
    })
    .await;
    // The guest gives its callout two seconds.
    let proxy = Proxy::start(guarded(&upstream, silent.address, "")).await;
    let answer = proxy.get("/").await;
    assert_eq!((answer.status(), answer.text().as_str()), (503, "no answer, 0 headers\n"));
    assert_eq!(proxy.metric("fyke_filter_callouts_failed_total", &[("filter", "auth")]).await, 1.0);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn clusters_that_were_not_granted_cannot_be_called() {
    let (upstream, authz) = (Upstream::says("secret").await, authz().await);
    let yaml = chain(upstream.address, &[("auth", calling("auth authz", "app", ""))])
        + &format!("  authz: {{ endpoints: ['{}'] }}\n", authz.address);
    let proxy = Proxy::start(yaml).await;
    let answer = proxy.get_with("/", "authorization: good\r\n").await;
    assert_eq!((answer.status(), answer.text().as_str()), (500, "callout refused: BadArgument\n"));
    assert_eq!((upstream.seen().len(), authz.seen().len()), (0, 0));
    proxy.logged(&["authz", "allow"]).await;
}

#[tokio::test]
async fn a_client_that_leaves_during_a_callout_leaves_nothing_behind() {
    let upstream = Upstream::says("secret").await;
    let slow = Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(request) = conn.request().await {
            recorder.saw(&request);
            tokio::time::sleep(Duration::from_millis(300)).await;
            if conn.try_send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nalice").await.is_err() {
                return;
            }
        }
    })
    .await;
    let proxy = Proxy::start(guarded(&upstream, slow.address, "")).await;
    let mut client = proxy.connect().await;
    client.send("GET /left HTTP/1.1\r\nhost: a\r\n\r\n").await;
    slow.received(1).await;
    drop(client);
    // The answer finds nobody; the instance and the next request do not mind.
    eventually("the stream to be over", async || {
        (proxy.metric("fyke_listener_requests_active", &[]).await == 0.0).then_some(())
    })
    .await;
    assert_eq!(proxy.get("/stayed").await.status(), 200);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(proxy.metric("fyke_filter_traps_total", &[]).await, 0.0);
}

#[tokio::test]
async fn many_requests_wait_at_the_same_time() {
    let (upstream, authz) = (Upstream::says("secret").await, authz().await);
    let proxy = Proxy::start(guarded(&upstream, authz.address, "")).await;
    let asks = (0..100).map(|number| {
        let proxy = &proxy;
        async move {
            let who = if number % 3 == 0 { "bad" } else { "good" };
            let answer = proxy.get_with("/", &format!("authorization: {who}\r\n")).await;
            assert_eq!(answer.status(), if number % 3 == 0 { 403 } else { 200 }, "{number}");
        }
    });
    futures_util::future::join_all(asks).await;
    assert_eq!((authz.seen().len(), upstream.seen().len()), (100, 66));
}
