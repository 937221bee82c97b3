//! Limits that a real Redis counts, for two processes.

use std::time::Duration;

use tokio::sync::watch;

use super::{admitted, global, pressure::Pressure, two};
use crate::support::{Conn, Launch, Proxy, Upstream, eventually, redis::Redis, upstream::Reply};

/// A machine that has much to do is no outage: these are about what is counted.
const PATIENT: &str = "timeout: 10s, failure_mode: closed";

/// One that begins a request and is not answered yet.
async fn asks(proxy: &Proxy) -> Conn {
    let mut conn = proxy.connect().await;
    conn.send("GET / HTTP/1.1\r\nhost: test.example\r\n\r\n").await;
    conn
}

/// Answers when the gate opens, unless the proxy leaves before.
async fn holding(gate: watch::Receiver<bool>) -> Upstream {
    Upstream::scripted(move |mut conn, _, recorder| {
        let mut gate = gate.clone();
        async move {
            while let Some(request) = conn.request().await {
                recorder.saw(&request);
                let opened = async { gate.wait_for(|open| *open).await.is_ok() };
                tokio::select! {
                    _ = opened => {}
                    _ = conn.closed() => return,
                }
                if conn.try_send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

async fn places(redis: &Redis, key: &str, count: usize) {
    eventually(format!("{count} places of {key}"), async || {
        (redis.held(key).await == format!(":{count}")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_limit_to_the_last_request() {
    let (upstream, redis) = (Upstream::says("ok").await, Redis::start());
    let rules = "{ name: all, global: true, limit: { rate: 50/d, burst: 50 } }, \
                 { name: tenant, global: true, key: [{ from: { request_header: x-tenant } }], limit: 10/d }";
    let (one, other) = two(&global(&upstream, &redis, PATIENT, rules)).await;
    let tenant = "x-tenant: a\r\n";
    let both = tokio::join!(admitted(&one, 8, 5, tenant), admitted(&other, 8, 5, tenant));
    assert_eq!(both.0 + both.1, 10);
    // Nothing was charged of what was refused: there are forty left for everybody.
    let both = tokio::join!(admitted(&one, 8, 10, ""), admitted(&other, 8, 10, ""));
    assert_eq!(both.0 + both.1, 40);
    assert_eq!(upstream.seen().len(), 50);
    assert!(both.0 > 0 && both.1 > 0, "{both:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_time_they_admit_what_the_definition_says_but_for_those_under_way() {
    const CLIENTS: usize = 8;
    let (upstream, redis) = (Upstream::says("ok").await, Redis::start());
    let (one, other) =
        two(&global(&upstream, &redis, PATIENT, "{ name: all, global: true, limit: { rate: 40/s, burst: 40 } }")).await;
    let pressure = Pressure::begin(&[&one, &other], CLIENTS);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answers = pressure.end().await;
    let begin = answers.iter().map(|answer| answer.begun).min().unwrap();
    let end = answers.iter().map(|answer| answer.begun + answer.took).max().unwrap();
    let through: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    let last = answers.iter().map(|answer| answer.begun).max().unwrap();
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)));
    assert!(answers.len() > 2 * through.len(), "too few have asked: {} of {}", through.len(), answers.len());
    let defined = |time: Duration| 40.0 + 40.0 * time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let count = through.len() as f64;
    assert!(count <= defined(end - begin) + 1.0, "{count} in {:?}", end - begin);
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let under_way = (2 * CLIENTS) as f64;
    assert!(count >= defined(last - begin) - under_way, "{count} in {:?}", last - begin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_counts_for_all_and_refuses_nobody() {
    let (upstream, redis) = (Upstream::says("ok").await, Redis::start());
    let rule = "{ name: all, global: true, limit: 5/d, shadow: true }";
    let (one, other) = two(&global(&upstream, &redis, PATIENT, rule)).await;
    let both = tokio::join!(admitted(&one, 4, 5, ""), admitted(&other, 4, 5, ""));
    assert_eq!(both, (20, 20));
    let mut refused = 0.0;
    for proxy in [&one, &other] {
        refused += proxy.metric("rate_limit_total", &[("rule", "all"), ("outcome", "shadow")]).await;
    }
    assert_eq!(refused, 35.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_at_the_same_time_are_counted_together_and_given_back() {
    const KEY: &str = "fyke:limit:shop:all:c0";
    let (open, gate) = watch::channel(false);
    let (upstream, redis) = (holding(gate).await, Redis::start());
    let rule = "{ name: all, global: true, limit: { concurrency: 3, lease: 1m } }";
    let (one, other) = two(&global(&upstream, &redis, PATIENT, rule)).await;
    let mut held = Vec::new();
    for proxy in [&one, &other, &one] {
        held.push(asks(proxy).await);
    }
    upstream.received(3).await;
    for proxy in [&one, &other] {
        assert_eq!(proxy.get("/").await.status(), 429);
    }
    assert_eq!(redis.held(KEY).await, ":3");
    // A client that leaves gives its place back, although nothing is left of its stream.
    drop(held.remove(0));
    places(&redis, KEY, 2).await;
    held.push(asks(&other).await);
    upstream.received(4).await;
    open.send(true).unwrap();
    for conn in &mut held {
        assert_eq!(conn.response("GET").await.status(), 200);
    }
    places(&redis, KEY, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_holds_its_places_no_longer_than_the_lease() {
    let (open, gate) = watch::channel(false);
    let (upstream, redis) = (holding(gate).await, Redis::start());
    let rule = "{ name: all, global: true, limit: { concurrency: 1, lease: 2s } }";
    let (one, other) = two(&global(&upstream, &redis, PATIENT, rule)).await;
    let _held = asks(&one).await;
    upstream.received(1).await;
    assert_eq!(other.get("/").await.status(), 429);
    drop(one);
    open.send(true).unwrap();
    eventually("the place is free", async || (other.get("/").await.status() == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_has_cost_is_charged_after_its_stream_is_gone() {
    let upstream = Upstream::http(|_| Reply::ok("ok").header("x-cost", "25")).await;
    let redis = Redis::start();
    let rule =
        "{ name: all, global: true, limit: { rate: 10/d, burst: 10 }, cost: { from: { response_header: x-cost } } }";
    let (one, other) = two(&global(&upstream, &redis, PATIENT, rule)).await;
    assert_eq!(one.get("/").await.status(), 200);
    // Before, it was only looked at.
    eventually("the charge", async || (redis.ask(&["EXISTS", "fyke:limit:shop:all:r0"]).await == ":1").then_some(()))
        .await;
    let refused = other.get("/").await;
    assert_eq!(refused.status(), 429);
    // There is room for one again when 16 of the 25 are paid back, at ten a day.
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((138_000..=138_240).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_redis_is_asked_holds_nothing() {
    const KEY: &str = "fyke:limit:shop:all:c0";
    let (open, gate) = watch::channel(true);
    let (upstream, redis) = (holding(gate).await, Redis::start());
    let rule = "{ name: all, global: true, limit: { concurrency: 5, lease: 10m } }";
    let proxy = Launch::new(global(&upstream, &redis, PATIENT, rule)).start().await;
    // So that the server knows the script.
    assert_eq!(proxy.get("/").await.status(), 200);
    open.send(false).unwrap();
    redis.server.process.freeze();
    let waiting = [asks(&proxy).await, asks(&proxy).await, asks(&proxy).await];
    proxy.metric_reaches("fyke_listener_connections_active", &[("listener", "web")], 3.0).await;
    drop(waiting);
    eventually("the clients are gone", async || {
        (proxy.metric("fyke_listener_connections_active", &[("listener", "web")]).await == 0.0).then_some(())
    })
    .await;
    redis.server.process.thaw();
    // What was asked of it meanwhile is executed in its order.
    places(&redis, KEY, 0).await;
    assert_eq!(upstream.seen().len(), 1);
    open.send(true).unwrap();
    assert_eq!(proxy.get("/").await.status(), 200);
    places(&redis, KEY, 0).await;
}
