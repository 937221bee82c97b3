//! What becomes of requests while Redis is ended, frozen and started again under load.

use std::time::Duration;

use super::{
    global,
    pressure::{Answer, Pressure},
    two,
};
use crate::support::{Proxy, Upstream, eventually, redis::Redis};

/// What a machine that has much to do may add. Whatever else a request could wait for (a connection, an answer that is overdue) takes a second or more.
pub const SLACK: Duration = Duration::from_millis(800);
/// Longer than the default, so that Redis is not missed where it is only slow.
pub const TIMEOUT: Duration = Duration::from_millis(150);
/// What the rule lets through in each phase.
pub const LIMIT: usize = 20;
const RULE: &str = "{ name: all, global: true, key: [{ from: { request_header: x-phase } }], limit: 20/d }";

/// What a proxy lets through while nobody counts for it.
#[derive(Clone, Copy)]
pub enum Through {
    All,
    None,
    /// So many, each.
    Part(usize),
}

async fn errors(proxies: &[&Proxy]) -> f64 {
    let mut errors = 0.0;
    for proxy in proxies {
        errors += proxy.metric("rate_limit_total", &[("rule", "all"), ("outcome", "error")]).await;
    }
    errors
}

/// Waits until each proxy asks again and is answered.
pub async fn recovered(pressure: &Pressure, proxies: &[&Proxy]) {
    eventually("limits count again", async || {
        let before = errors(proxies).await;
        pressure.round(3).await;
        (errors(proxies).await <= before).then_some(())
    })
    .await;
}

/// One phase in which both are counted together.
pub async fn counts(pressure: &Pressure, proxies: &[&Proxy], through: Through) {
    let before = errors(proxies).await;
    let phase = pressure.round(8).await;
    pressure.round(1).await;
    let admitted = pressure.admitted(phase);
    if errors(proxies).await <= before {
        assert_eq!(admitted, LIMIT, "phase {phase}");
    } else if !matches!(through, Through::All) {
        // The machine was too slow for the timeout now and then; what was let through on account of that is known, too.
        let more = if let Through::Part(part) = through { part * proxies.len() } else { 0 };
        assert!(admitted <= LIMIT + more, "phase {phase}: {admitted}");
    }
}

/// One phase in which no proxy is answered.
pub async fn decides(pressure: &Pressure, through: Through, what: &str) {
    let phase = pressure.round(15).await;
    // None of that phase is under way afterwards.
    pressure.round(1).await;
    let answers = pressure.answers(phase);
    for proxy in 0..2 {
        let of: Vec<&Answer> = answers.iter().filter(|answer| answer.proxy == proxy).collect();
        let admitted = of.iter().filter(|answer| answer.status == 200).count();
        let expected = match through {
            Through::All => of.len(),
            Through::None => 0,
            Through::Part(part) => part,
        };
        assert_eq!(admitted, expected, "{what}: of {} answers of proxy {proxy}", of.len());
        assert!(of.iter().all(|answer| matches!(answer.status, 200 | 429)));
    }
}

/// Both outages under load, under one policy.
async fn outages(mode: &str, through: Through) {
    let (upstream, mut redis) = (Upstream::says("ok").await, Redis::start());
    let options = format!("timeout: {}ms, failure_mode: {mode}", TIMEOUT.as_millis());
    let (one, other) = two(&global(&upstream, &redis, &options, RULE)).await;
    let proxies = [&one, &other];
    let pressure = Pressure::begin(&proxies, 4);
    recovered(&pressure, &proxies).await;
    counts(&pressure, &proxies, through).await;

    redis.server.process.kill();
    decides(&pressure, through, "killed").await;
    redis.server.restart();
    recovered(&pressure, &proxies).await;
    // Four workers, each with one connection; those that listen and ask here; and room for one that broke.
    let connections = redis.info("total_connections_received").await;
    assert!(connections <= 12, "{connections} connections after the restart");
    counts(&pressure, &proxies, through).await;

    redis.server.process.freeze();
    decides(&pressure, through, "frozen").await;
    redis.server.process.thaw();
    recovered(&pressure, &proxies).await;
    counts(&pressure, &proxies, through).await;
    assert!(redis.info("connected_clients").await <= 6);

    for answer in pressure.end().await {
        assert!(answer.took <= TIMEOUT + SLACK, "{answer:?}");
    }
    for proxy in proxies {
        proxy.logged(&["limits in redis cannot be looked up"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_everything_passes_where_the_mode_is_open() {
    outages("open", Through::All).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nothing_passes_where_the_mode_is_closed() {
    outages("closed", Through::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_process_applies_its_part_where_the_mode_is_local() {
    outages("local, peers: 2", Through::Part(LIMIT / 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_more_than_twenty_milliseconds_by_default() {
    let (upstream, redis) = (Upstream::says("ok").await, Redis::start());
    let (one, other) = two(&global(&upstream, &redis, "", RULE)).await;
    let pressure = Pressure::begin(&[&one, &other], 2);
    pressure.seen(0, 5).await;
    redis.server.process.freeze();
    let phase = pressure.round(20).await;
    let mut took: Vec<Duration> = pressure.answers(phase).iter().map(|answer| answer.took).collect();
    took.sort_unstable();
    let (middle, most) = (took[took.len() / 2], took[took.len() - 1]);
    // It was waited for, and mostly not for long.
    assert!(middle >= Duration::from_millis(18), "{took:?}");
    assert!(took[took.len() / 4] <= Duration::from_millis(120), "{took:?}");
    assert!(most <= Duration::from_millis(20) + SLACK, "{most:?}");
    redis.server.process.thaw();
    pressure.end().await;
}
