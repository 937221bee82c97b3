//! The two meanings of a pause in the headers callback, and limits on what is held meanwhile.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::chain::{calling, chain, official};
use crate::support::{Proxy, Upstream};

/// A service that says yes when it is allowed to.
async fn gated() -> (Upstream, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&gate);
    let upstream = Upstream::scripted(move |mut conn, _, recorder| {
        let hold = Arc::clone(&hold);
        async move {
            while let Some(request) = conn.request().await {
                recorder.saw(&request);
                hold.acquire().await.unwrap().forget();
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nalice").await;
            }
        }
    })
    .await;
    (upstream, gate)
}

async fn guarded(more: &str, limits: &str) -> (Upstream, Upstream, Arc<Semaphore>, Proxy) {
    let upstream = Upstream::echo().await;
    let (authz, gate) = gated().await;
    let yaml = chain(upstream.address, &[("auth", calling("auth authz", "authz", more))])
        + &format!("  authz: {{ endpoints: ['{}'] }}\n", authz.address);
    let proxy = Proxy::start(yaml.replace("cluster: app }", &format!("cluster: app{limits} }}"))).await;
    (upstream, authz, gate, proxy)
}

#[tokio::test]
async fn by_default_a_pause_holds_the_body_too() {
    let (upstream, authz, gate, proxy) = guarded("", "").await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234").await;
    authz.received(1).await;
    client.send("56789").await;
    gate.add_permits(1);
    assert_eq!(client.response("POST").await.text(), "0123456789");
    assert_eq!(
        upstream.last().header("x-seen-before-answer"),
        Some("0"),
        "the body was shown while everything was stopped"
    );
}

#[tokio::test]
async fn with_headers_only_the_body_flows_to_the_filter() {
    let (upstream, authz, gate, proxy) = guarded("headers_pause: headers_only, ", "").await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789").await;
    authz.received(1).await;
    // Nothing outside tells when the guest has seen the body; the answer is held until it must have.
    assert!(client.silent(std::time::Duration::from_millis(300)).await);
    gate.add_permits(1);
    assert_eq!(client.response("POST").await.text(), "0123456789");
    assert_eq!(upstream.last().header("x-seen-before-answer"), Some("10"));
}

#[tokio::test]
async fn a_filter_can_hold_the_headers_until_it_has_the_body() {
    let upstream = Upstream::echo().await;
    let proxy =
        Proxy::start(chain(upstream.address, &[("f", official("wait", "headers_pause: headers_only, "))])).await;
    for framing in [
        "content-length: 10\r\n\r\n0123456789",
        "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
    ] {
        let mut client = proxy.connect().await;
        let answer = client.exchange(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}")).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "0123456789"));
        assert_eq!(upstream.last().header("x-body-size"), Some("10"));
    }
    assert_eq!(proxy.get("/").await.status(), 200, "no body, no pause");
}

#[tokio::test]
async fn more_than_may_be_held_is_413() {
    let upstream = Upstream::echo().await;
    let yaml = chain(upstream.address, &[("f", official("double", ""))])
        .replace("cluster: app }", "cluster: app, limits: { buffer: 64KiB } }");
    let proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    let fits = "x".repeat(60 * 1024);
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{fits}", fits.len())).await;
    // The answer is twice as long and is held as well. Its head is out already, so it can only be cut off.
    let head = client.head().await.unwrap();
    assert!(client.body(head).await.is_none(), "more than may be held was held");
    assert_eq!(upstream.last().body.len(), 2 * fits.len());
    let large = "x".repeat(300 * 1024);
    let mut client = proxy.connect().await;
    let _ =
        client.try_send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{large}", large.len())).await;
    let answer = client.response("POST").await;
    assert_eq!((answer.status(), answer.text().contains("request_too_large")), (413, true), "{answer:?}");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn what_waits_behind_a_stopped_request_is_bounded() {
    let (upstream, authz, gate, proxy) = guarded("", ", limits: { buffer: 64KiB }").await;
    let before = proxy.resident();
    let mut client = proxy.connect().await;
    let total = 64 * 1024 * 1024;
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {total}\r\n\r\n")).await;
    authz.received(1).await;
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while let Ok(result) = tokio::time::timeout(std::time::Duration::from_millis(500), client.try_send(&piece)).await {
        result.unwrap();
        sent += piece.len();
        assert!(sent < total / 2, "{sent} bytes were taken for a request that is stopped");
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 8 * 1024 * 1024, "the proxy grew by {grown} bytes");
    drop(client);
    gate.add_permits(1);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_continue_that_comes_too_early_lets_nothing_go_later() {
    let upstream = Upstream::echo().await;
    let proxy = Proxy::start(chain(upstream.address, &[("f", official("early; double", ""))])).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234").await;
    assert!(client.silent(std::time::Duration::from_millis(200)).await);
    client.send("56789").await;
    client.response("POST").await;
    assert_eq!(upstream.last().text(), "01234567890123456789");
}
