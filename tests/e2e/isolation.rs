//! `isolation: stream`: every stream has an instance of its own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use crate::{
    chain::{chain, misbehave},
    guests,
    support::{Conn, Proxy, Upstream, eventually, faulty::waiting},
};

fn get(more: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\n{more}\r\n")
}

const PANIC: &str = "x-misbehave: request_headers panic\r\n";

#[tokio::test]
async fn a_trap_costs_the_stream_that_it_is_in_and_no_other() {
    let go = Arc::new(Notify::new());
    let upstream = waiting(&go).await;
    let filter = misbehave("", "isolation: stream, ");
    let proxy = Proxy::start(chain(upstream.address, &[("f", filter)])).await;
    // One is in the middle of its way while another traps.
    let mut slow = proxy.connect().await;
    slow.send(get("")).await;
    upstream.received(1).await;
    let mut bad = proxy.connect().await;
    for _ in 0..3 {
        assert_eq!(bad.exchange(&get(PANIC)).await.status(), 503);
    }
    proxy.metric_reaches("fyke_filter_instances", &[("filter", "f")], 2.0).await;
    go.notify_one();
    assert_eq!(slow.response("GET").await.status(), 200);
    assert_eq!(proxy.metric("fyke_filter_traps_total", &[("filter", "f")]).await, 3.0);
    assert_eq!(proxy.metric("fyke_filter_failed_streams_total", &[("filter", "f")]).await, 3.0);
    // There is nothing to replace: the instance that is copied has not trapped.
    assert_eq!(proxy.metric("fyke_filter_instances_replaced_total", &[("filter", "f")]).await, 0.0);
    assert_eq!(proxy.page("/filters").await["f"]["isolation"], "stream");
    eventually("copies are gone with their streams", async || {
        (proxy.metric("fyke_filter_instances", &[("filter", "f")]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn beyond_the_limit_the_policy_applies() {
    let go = Arc::new(Notify::new());
    let upstream = waiting(&go).await;
    let filter = format!("{{ module: {:?}, isolation: stream, limits: {{ instances: 2 }} }}", guests::HEADER_FYKE);
    let proxy = Proxy::start(chain(upstream.address, &[("f", filter)])).await;
    let mut held = Vec::new();
    for count in 1..=2 {
        let mut conn = proxy.connect().await;
        conn.send(get("")).await;
        upstream.received(count).await;
        held.push(conn);
    }
    let mut third = proxy.connect().await;
    assert_eq!(third.exchange(&get("")).await.status(), 503);
    proxy.logged(&["no instance for a stream", "limits.instances"]).await;
    for mut conn in held {
        go.notify_one();
        assert_eq!(conn.response("GET").await.header("x-guest-response"), Some("seen"));
    }
    third.send(get("")).await;
    upstream.received(3).await;
    go.notify_one();
    assert_eq!(third.response("GET").await.status(), 200);
}

/// Requests that fail for each panic, of one in a hundred, with eight clients at a time.
async fn failed_for_each_panic(isolation: &str) -> f64 {
    let upstream = Upstream::says("hi").await;
    let filter = misbehave("", &format!("isolation: {isolation}, "));
    let proxy = Proxy::start(chain(upstream.address, &[("f", filter)])).await;
    let (failed, panics) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (web, failed, panics) = (proxy.web(), Arc::clone(&failed), Arc::clone(&panics));
            tokio::spawn(async move {
                let mut conn = Conn::to(web).await;
                for number in 0..250 {
                    let panics_here = (number * 8 + client) % 100 == 0;
                    panics.fetch_add(usize::from(panics_here), Ordering::Relaxed);
                    let answer = conn.exchange(&get(if panics_here { PANIC } else { "" })).await;
                    failed.fetch_add(usize::from(answer.status() != 200), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    failed.load(Ordering::Relaxed) as f64 / panics.load(Ordering::Relaxed) as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_panic_costs_exactly_one_request() {
    let (stream, worker) = (failed_for_each_panic("stream").await, failed_for_each_panic("worker").await);
    println!("failed requests for each panic: {stream} with isolation: stream, {worker} with isolation: worker");
    assert_eq!(stream, 1.0);
    assert!(worker >= 1.0);
}
