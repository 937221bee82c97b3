//! A canary that traps under load: how long it is there, and who notices.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    guests,
    support::{
        Conn, Message, Proxy, Upstream,
        load::{Load, Turn},
        long,
    },
};

/// One of so many streams of the canary traps.
const ONE_IN: u64 = 50;
/// Streams before it is judged; the default.
const MIN_STREAMS: usize = 100;
const PANIC: &str = "x-misbehave: request_headers panic\r\n";

/// Streams in a second.
struct Rates {
    canary: u32,
    stable: u32,
    clients: u32,
}

const LONG: Rates = Rates { canary: 1000, stable: 3000, clients: 8 };
const SHORT: Rates = Rates { canary: 200, stable: 200, clients: 2 };

impl Rates {
    /// Of one client.
    fn period(&self, rate: u32) -> Duration {
        Duration::from_secs(1) * self.clients / rate
    }
}

/// A quarter of the streams meet the canary, by their request id.
fn yaml(upstream: SocketAddr, isolation: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\nfilters:\n  f: {{ isolation: {isolation}, module: {:?}, canary: {{ module: {:?}, \
         config: x, percent: 25, min_streams: {MIN_STREAMS} }} }}\nclusters:\n  app: {{ endpoints: ['{upstream}'] }}\n",
        guests::HEADER_FYKE,
        guests::MISBEHAVE
    )
}

fn is_stable(answer: &Message) -> bool {
    answer.header("x-guest-response") == Some("seen")
}

fn get(id: &str, more: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\n{more}\r\n")
}

/// Request ids that meet the version that stands, and such that meet the canary.
async fn sides(proxy: &Proxy) -> (Arc<[String]>, Arc<[String]>) {
    let mut conn = proxy.connect().await;
    let (mut stable, mut tried) = (Vec::new(), Vec::new());
    for number in 0..200 {
        let id = format!("id-{number}");
        if is_stable(&conn.exchange(&get(&id, "")).await) { stable.push(id) } else { tried.push(id) }
    }
    assert!(stable.len() > tried.len() && tried.len() > 20, "{} and {}", stable.len(), tried.len());
    (stable.into(), tried.into())
}

/// What the clients of the canary have seen.
#[derive(Default)]
struct Seen {
    streams: AtomicU64,
    /// Of them, before the first that was to trap.
    good: u64,
    panics: AtomicU64,
    failed: AtomicU64,
}

/// Clients whose streams meet the version that stands: each has to be answered by it.
fn stable(load: &mut Load, web: SocketAddr, ids: &Arc<[String]>, rates: &Rates) {
    for client in 0..rates.clients {
        let (ids, period) = (Arc::clone(ids), rates.period(rates.stable));
        load.client(async move |turn: Turn| {
            let mut conn = Conn::to(web).await;
            let mut timer = interval(period);
            timer.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for id in ids.iter().cycle().skip(client as usize).take_while(|_| turn.goes_on()) {
                timer.tick().await;
                let answer = conn.exchange(&get(id, PANIC)).await;
                assert!(answer.status() == 200 && is_stable(&answer), "{answer:?}");
                turn.answered();
            }
        });
    }
}

/// Clients whose streams meet the canary, until one of them meets the version that stands. Returns how long that took, from when the
/// canary began to be bad.
async fn canary(web: SocketAddr, ids: &Arc<[String]>, rates: &Rates, seen: &Arc<Seen>) -> Duration {
    let began = Arc::new(OnceLock::new());
    let clients: Vec<_> = (0..rates.clients)
        .map(|client| {
            let (ids, seen, period) = (Arc::clone(ids), Arc::clone(seen), rates.period(rates.canary));
            let began = Arc::clone(&began);
            tokio::spawn(async move {
                let mut conn = Conn::to(web).await;
                let mut timer = interval(period);
                timer.set_missed_tick_behavior(MissedTickBehavior::Burst);
                for id in ids.iter().cycle().skip(client as usize) {
                    timer.tick().await;
                    let number = seen.streams.fetch_add(1, Ordering::Relaxed);
                    let panics = number >= seen.good && number % ONE_IN == 0;
                    if panics {
                        began.get_or_init(Instant::now);
                        seen.panics.fetch_add(1, Ordering::Relaxed);
                    }
                    let answer = conn.exchange(&get(id, if panics { PANIC } else { "" })).await;
                    if is_stable(&answer) {
                        return;
                    }
                    seen.failed.fetch_add(u64::from(answer.status() != 200), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    began.get().expect("some have trapped").elapsed()
}

/// One canary, from its beginning to its end. Returns how long it was there after it had begun to trap.
async fn taken_back_after(rates: &Rates, isolation: &str, good: u64) -> Duration {
    let upstream = Upstream::says("hi").await;
    let proxy = Proxy::start(yaml(upstream.address, isolation)).await;
    let (stable_ids, tried_ids) = sides(&proxy).await;
    // One of the first few is bad. It is judged when there are enough of them, and stays.
    let mut conn = proxy.connect().await;
    assert_eq!(conn.exchange(&get(&tried_ids[0], PANIC)).await.status(), 503);
    for id in tried_ids.iter().cycle().take(3 * MIN_STREAMS) {
        assert_eq!(conn.exchange(&get(id, "")).await.status(), 200);
    }
    let trial = &proxy.page("/filters").await["f"]["canary"]["trial"]["canary"];
    assert!(trial["streams"].as_u64().unwrap() >= 3 * MIN_STREAMS as u64 && trial["failed"] == 1, "{trial}");
    assert_eq!(proxy.metric("fyke_filter_canaries_rolled_back_total", &[]).await, 0.0);

    // From now on it is as bad as it is.
    let mut load = Load::default();
    let seen = Arc::new(Seen { good, ..Seen::default() });
    stable(&mut load, proxy.web(), &stable_ids, rates);
    let began = Instant::now();
    let took = canary(proxy.web(), &tried_ids, rates, &seen).await;
    let whole = began.elapsed();
    proxy.metric_reaches("fyke_filter_canaries_rolled_back_total", &[("filter", "f")], 1.0).await;
    let others = load.end().await;
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (streams, panics, failed) = (count(&seen.streams), count(&seen.panics), count(&seen.failed));
    println!(
        "isolation {isolation}, {good} good streams: taken back after {took:?}; {streams} streams of the canary ({:.0} a second), {panics} told \
         to trap, {failed} failed; {others} others ({:.0} a second), none failed",
        streams as f64 / whole.as_secs_f64(),
        others as f64 / whole.as_secs_f64(),
    );
    assert!(failed >= 2 && failed <= streams);
    assert_eq!(proxy.metric("fyke_filter_failed_streams_total", &[("filter", "f")]).await, 0.0);
    took
}

/// Two of a hundred streams trap, at 1,000 streams a second with `FYKE_LONG=1` (3,000 others beside them), else at 200.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_traps_on_two_of_a_hundred_streams_is_gone_within_two_seconds() {
    let (rates, rounds) = if long() { (LONG, 5) } else { (SHORT, 1) };
    let mut times = Vec::new();
    for isolation in ["worker", "stream"] {
        for _ in 0..rounds {
            times.push(taken_back_after(&rates, isolation, 0).await);
        }
    }
    soon_enough(&times);
}

/// The same when it was good before: with `FYKE_LONG=1` for twelve seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_begins_to_trap_later_is_gone_as_soon() {
    let (rates, rounds, good) = if long() { (LONG, 3, 12_000) } else { (SHORT, 1, 400) };
    let mut times = Vec::new();
    for isolation in ["worker", "stream"] {
        for _ in 0..rounds {
            times.push(taken_back_after(&rates, isolation, good).await);
        }
    }
    soon_enough(&times);
}

fn soon_enough(times: &[Duration]) {
    let slowest = times.iter().max().unwrap();
    println!("slowest of {}: {slowest:?}", times.len());
    // A debug build on a busy machine may take its time.
    assert!(*slowest < Duration::from_secs(if long() { 2 } else { 10 }), "{times:?}");
}
