//! What a process does less of when it runs out of memory or connections.

use crate::support::{Conn, Proxy, Upstream, eventually, h2::Client, proxy::plain};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn closes(answer: &crate::support::Message) -> bool {
    answer.header("connection").is_some_and(|value| value == "close")
}

#[tokio::test]
async fn connections_are_closed_after_their_answers_when_few_are_left() {
    let upstream = Upstream::says("x").await;
    let yaml = format!("limits: {{ connections: 10 }}\n{}", plain(upstream.address));
    let proxy = Proxy::start(yaml).await;
    let mut conns = Vec::new();
    for _ in 0..8 {
        let mut conn = proxy.connect().await;
        assert!(!closes(&conn.exchange(GET).await), "eight of ten are not many");
        conns.push(conn);
    }
    let mut ninth = Client::to(proxy.web()).await;
    assert_eq!(ninth.get("/").await.status, 200);
    let action = [("action", "disable_keep_alive")];
    proxy.metric_reaches("fyke_overload_active", &action, 100.0).await;
    proxy.logged(&["overloaded", "9 of 10 connections"]).await;
    let answer = conns[0].exchange(GET).await;
    assert!(answer.status() == 200 && closes(&answer), "{answer:?}");
    assert!(conns[0].closed().await);
    // HTTP/2 is told by GOAWAY, and its request is answered.
    assert_eq!(ninth.get("/").await.status, 200);
    crate::support::soon("the end of the HTTP/2 connection", ninth.connection).await.unwrap().unwrap();
    let status = proxy.page("/status").await;
    assert_eq!(status["overload"]["actions"]["disable_keep_alive"], 1.0, "{status:#}");
    assert_eq!(status["overload"]["connections"]["limit"], 10);
    drop(conns);
    // It ends a while after they have gone.
    eventually("the end of the overload", async || {
        (proxy.metric("fyke_overload_active", &action).await == 0.0).then_some(())
    })
    .await;
    let mut conn = proxy.connect().await;
    assert!(!closes(&conn.exchange(GET).await));
}

#[tokio::test]
async fn without_memory_requests_are_shed_and_connections_wait() {
    let upstream = Upstream::says("x").await;
    let yaml = plain(upstream.address);
    let mut proxy = Proxy::start(yaml.clone()).await;
    let mut conn = proxy.connect().await;
    assert_eq!(conn.exchange(GET).await.status(), 200);
    // Less than it has.
    proxy.reload(&format!("limits: {{ memory: 16MiB }}\n{yaml}")).await;
    proxy.metric_reaches("fyke_overload_active", &[("action", "stop_accepting")], 100.0).await;
    let answer = conn.exchange("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!((answer.status(), answer.text().trim()), (503, "service unavailable: overload_shed"));
    assert!(closes(&answer));
    proxy.metric_reaches("fyke_listener_requests_shed_total", &[("listener", "web")], 1.0).await;
    assert_eq!(upstream.seen().len(), 1);
    // The kernel takes it, and nobody else.
    let mut waits = Conn::to(proxy.web()).await;
    waits.send(GET).await;
    assert!(waits.silent(std::time::Duration::from_millis(300)).await);
    let status = proxy.page("/status").await;
    assert_eq!(status["overload"]["memory"]["limit"], 16 << 20, "{status:#}");
    assert!(status["overload"]["memory"]["used"].as_u64().unwrap() > 16 << 20);
    proxy.reload(&yaml).await;
    assert_eq!(waits.response("GET").await.status(), 200);
}

#[tokio::test]
async fn a_process_without_memory_drains() {
    let upstream = Upstream::says("x").await;
    let mut proxy = Proxy::start(format!("limits: {{ memory: 16MiB }}\n{}", plain(upstream.address))).await;
    proxy.metric_reaches("fyke_overload_active", &[("action", "stop_accepting")], 100.0).await;
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
}
