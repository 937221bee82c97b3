//! Connections to upstreams: reuse, limits, and what happens when one goes stale.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::support::{Conn, Proxy, Upstream, eventually, faulty::stale, soon};

async fn pooled(upstream: &Upstream, more: &str) -> Proxy {
    let address = upstream.address;
    Proxy::start(format!("listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\nclusters:\n  app: {{ endpoints: ['{address}'], {more} }}\n")).await
}

#[tokio::test]
async fn a_stale_connection_costs_a_get_nothing() {
    let upstream = stale().await;
    let proxy = pooled(&upstream, "").await;
    assert_eq!(proxy.get("/1").await.status(), 200);
    assert_eq!(proxy.get("/2").await.text(), "ok");
    let seen: Vec<_> = upstream.seen().iter().map(|seen| (seen.path().to_owned(), seen.connection)).collect();
    assert_eq!(seen, [("/1".to_owned(), 1), ("/2".to_owned(), 1), ("/2".to_owned(), 2)]);
    assert_eq!(proxy.metric("fyke_cluster_stale_connection_retries_total", &[]).await, 1.0);
}

#[tokio::test]
async fn a_post_with_a_body_is_not_sent_twice() {
    let upstream = stale().await;
    let proxy = pooled(&upstream, "").await;
    assert_eq!(proxy.get("/1").await.status(), 200);
    let mut client = proxy.connect().await;
    let answer = client.exchange("POST /pay HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!((answer.status(), answer.text().contains("upstream_reset")), (503, true), "{answer:?}");
    assert_eq!(upstream.seen().iter().filter(|seen| seen.path() == "/pay").count(), 1);
    assert_eq!(proxy.metric("fyke_cluster_stale_connection_retries_total", &[]).await, 0.0);
}

#[tokio::test]
async fn it_is_sent_again_once_and_no_more() {
    // Every connection answers one request and dies with the second; the fresh one dies with its first.
    let upstream = Upstream::scripted(|mut conn, number, recorder| async move {
        let request = conn.request().await.unwrap();
        recorder.saw(&request);
        if number == 1 {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            recorder.saw(&conn.request().await.unwrap());
        }
    })
    .await;
    let proxy = pooled(&upstream, "").await;
    assert_eq!(proxy.get("/1").await.status(), 200);
    let answer = proxy.get("/2").await;
    assert_eq!((answer.status(), answer.text().contains("upstream_reset")), (503, true), "{answer:?}");
    assert_eq!(upstream.seen().iter().filter(|seen| seen.path() == "/2").count(), 2);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        recorder.saw(&conn.request().await.unwrap());
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = pooled(&upstream, "").await;
    for number in 1..=3 {
        let mut client = proxy.connect().await;
        let answer = client.exchange("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
        assert_eq!(answer.status(), 200);
        eventually("the proxy to notice", async || {
            (proxy.metric("fyke_cluster_connections_active", &[]).await == 0.0).then_some(())
        })
        .await;
        assert_eq!(upstream.connections(), number);
    }
}

/// An upstream whose requests wait for a permit, and the most that it saw at one time.
async fn gated() -> (Upstream, Arc<Semaphore>, Arc<AtomicUsize>) {
    let gate = Arc::new(Semaphore::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(AtomicUsize::new(0));
    let (hold, peak) = (Arc::clone(&gate), Arc::clone(&most));
    let upstream = Upstream::scripted(move |mut conn, _, recorder| {
        let (hold, peak, now) = (Arc::clone(&hold), Arc::clone(&peak), Arc::clone(&now));
        async move {
            while let Some(request) = conn.request().await {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                recorder.saw(&request);
                hold.acquire().await.unwrap().forget();
                now.fetch_sub(1, Ordering::SeqCst);
                if conn.try_send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (upstream, gate, most)
}

async fn ask(proxy: &Proxy) -> Conn {
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_their_turn() {
    let (upstream, gate, most) = gated().await;
    let proxy = pooled(&upstream, "connect_timeout: 60s, pool: { connections: 2 }").await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(ask(&proxy).await);
    }
    proxy.metric_reaches("fyke_cluster_pending_requests", &[("cluster", "app")], 4.0).await;
    upstream.received(2).await;
    assert_eq!(upstream.connections(), 2);
    gate.add_permits(6);
    for client in &mut clients {
        assert_eq!(client.response("GET").await.status(), 200);
    }
    assert_eq!((most.load(Ordering::SeqCst), upstream.connections()), (2, 2));
    assert_eq!(proxy.metric("fyke_cluster_pending_requests", &[]).await, 0.0);
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_told_why() {
    let (upstream, gate, _) = gated().await;
    let proxy = pooled(&upstream, "connect_timeout: 300ms, pool: { connections: 1 }").await;
    let mut first = ask(&proxy).await;
    upstream.received(1).await;
    let answer = ask(&proxy).await.response("GET").await;
    assert_eq!((answer.status(), answer.text().contains("upstream_pool_exhausted")), (503, true), "{answer:?}");
    proxy.logged(&["all 1 connections to cluster", "circuit_breakers.connections"]).await;
    assert_eq!(proxy.metric("fyke_cluster_overflows_total", &[("limit", "connections")]).await, 1.0);
    gate.add_permits(1);
    assert_eq!(first.response("GET").await.status(), 200, "the one that had a connection is not touched");
}

#[tokio::test]
async fn a_client_that_gives_up_waiting_leaves_the_queue() {
    let (upstream, gate, _) = gated().await;
    let proxy = pooled(&upstream, "connect_timeout: 60s, pool: { connections: 1 }").await;
    let mut first = ask(&proxy).await;
    upstream.received(1).await;
    let impatient = ask(&proxy).await;
    proxy.metric_reaches("fyke_cluster_pending_requests", &[], 1.0).await;
    drop(impatient);
    eventually("the queue to be empty", async || {
        (proxy.metric("fyke_cluster_pending_requests", &[]).await == 0.0).then_some(())
    })
    .await;
    gate.add_permits(2);
    assert_eq!(first.response("GET").await.status(), 200);
    assert_eq!(proxy.get("/").await.status(), 200);
    assert_eq!(upstream.seen().len(), 2, "the request of the client that left was sent");
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let upstream = Upstream::says("x").await;
    let proxy = pooled(&upstream, "pool: { idle_timeout: 500ms }").await;
    assert_eq!(proxy.get("/").await.status(), 200);
    assert_eq!(upstream.open(), 1);
    eventually("the idle connection to be closed", async || (upstream.open() == 0).then_some(())).await;
    assert_eq!(proxy.metric("fyke_cluster_pool_idle", &[]).await, 0.0);
    assert_eq!(proxy.get("/").await.status(), 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_connection_is_retired_after_so_many_requests() {
    let upstream = Upstream::says("x").await;
    let proxy = pooled(&upstream, "pool: { requests_per_connection: 3 }").await;
    for _ in 0..7 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn a_slow_connection_in_the_pool_does_not_leak_into_the_next_request() {
    // The first client leaves in the middle of its answer: its connection must not carry the second one's.
    let upstream = Upstream::scripted(|mut conn, number, recorder| async move {
        while let Some(mut request) = conn.request().await {
            request.connection = number;
            recorder.saw(&request);
            let body = format!("answer to {}", request.path());
            if request.path() == "/left" {
                let half = &body[..body.len() / 2];
                conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{half}", body.len())).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                let _ = conn.try_send(&body[body.len() / 2..]).await;
                continue;
            }
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        }
    })
    .await;
    let proxy = pooled(&upstream, "").await;
    let mut client = proxy.connect().await;
    client.send("GET /left HTTP/1.1\r\nhost: a\r\n\r\n").await;
    soon("the head", client.head()).await.unwrap();
    drop(client);
    for number in 0..3 {
        assert_eq!(proxy.get(&format!("/{number}")).await.text(), format!("answer to /{number}"));
    }
    assert_eq!(upstream.seen().iter().filter(|seen| seen.connection == 1).count(), 1);
}
