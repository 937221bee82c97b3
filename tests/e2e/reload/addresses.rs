//! Listeners that move, and listeners that go.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::GET;
use crate::{
    support::{
        Conn, Proxy, Upstream,
        faulty::waiting,
        h2::{self, whole},
        load::{Load, Turn},
    },
    tcp,
};

/// A port that nobody has at the moment, at every address.
fn free_port() -> u16 {
    std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

/// Clients of HTTP/1.1: two that stay for as long as they are let, two that connect for each request. A connection that is being made just as
/// the socket of its address goes is reset by the kernel, before anybody could accept it: those are counted in `missed`.
fn load(address: SocketAddr, missed: &Arc<AtomicU32>) -> Load {
    let mut load = Load::default();
    for kind in 0..4 {
        let missed = Arc::clone(missed);
        load.client(async move |turn: Turn| {
            while turn.goes_on() {
                let Ok(stream) = tokio::net::TcpStream::connect(address).await else {
                    missed.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let mut conn = Conn::over(stream);
                for served in 0.. {
                    let sent = conn.try_send(GET).await;
                    let answer = if sent.is_ok() { conn.request().await } else { None };
                    let Some(answer) = answer else {
                        assert_eq!(served, 0, "a connection that was accepted is served to its end");
                        missed.fetch_add(1, Ordering::Relaxed);
                        break;
                    };
                    assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"hi"[..]));
                    turn.answered();
                    let told_to_go =
                        answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                    if kind % 2 == 0 || told_to_go || !turn.goes_on() {
                        break;
                    }
                }
            }
        });
    }
    load
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_loopback_to_all_addresses_and_back_no_client_is_lost() {
    let upstream = Upstream::says("hi").await;
    let port = free_port();
    let config = |host: &str| {
        format!(
            "workers: auto\nlisteners:\n  web: {{ address: '{host}:{port}', cluster: app }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
            upstream.address
        )
    };
    let mut proxy = Proxy::start(config("127.0.0.1")).await;
    let missed = Arc::default();
    let load = load(SocketAddr::from(([127, 0, 0, 1], port)), &missed);
    for turn in 0..10 {
        let host = if turn % 2 == 0 { "0.0.0.0" } else { "127.0.0.1" };
        assert_eq!(proxy.reload(&config(host)).await, turn + 2);
        assert_eq!(proxy.web().to_string(), format!("{host}:{port}"));
        // Another address of this machine is served by the one and not by the other.
        let other = tokio::net::TcpStream::connect(("127.0.0.2", port)).await;
        assert_eq!(other.is_ok(), turn % 2 == 0, "{host}");
    }
    let answers = load.end().await;
    let missed = missed.load(Ordering::Relaxed);
    println!("{answers} answers over ten moves, {missed} connections missed");
    assert!(answers > 0 && missed <= 10, "{missed} of {answers}");
    assert_eq!(proxy.metric("fyke_listener_requests_total", &[("class", "5xx")]).await, 0.0);
}

/// The number of cores is that of the machine when the process starts.
#[tokio::test]
async fn workers_that_follow_the_machine_stay_when_its_cores_change() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let upstream = Upstream::says("hi").await;
    let config = |workers: &str, more: &str| {
        format!(
            "workers: {workers}\nlisteners:\n  web: {{ address: '127.0.0.1:0', cluster: app{more} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
            upstream.address
        )
    };
    let cores = sched_getaffinity(None).unwrap().count() as usize;
    let mut proxy = Proxy::start(config("auto", "")).await;
    assert_eq!(proxy.page("/status").await["workers"], cores);
    if cores == 1 {
        println!("one core: nothing to take away");
    } else {
        // All threads, so that whichever one reads the configuration sees the change.
        let first = (0..CpuSet::MAX_CPU).find(|core| sched_getaffinity(None).unwrap().is_set(*core)).unwrap();
        let mut one = CpuSet::new();
        one.set(first);
        for thread in std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap() {
            let number = thread.unwrap().file_name().to_string_lossy().parse().unwrap();
            // One that has just ended needs none.
            let _ = sched_setaffinity(rustix::process::Pid::from_raw(number), &one);
        }
    }
    assert_eq!(proxy.reload(&config("auto", ", drain: 1s")).await, 2);
    assert_eq!(proxy.page("/status").await["workers"], cores);
    assert_eq!(proxy.get("/").await.status(), 200);
    // In figures it is the same, and another figure is refused.
    assert_eq!(proxy.reload(&config(&cores.to_string(), ", drain: 2s")).await, 3);
    proxy.rewrite(&config(&(cores + 1).to_string(), ", drain: 2s"));
    let (status, value) = proxy.act("/reload", "").await;
    assert!(status == 422 && value["error"].as_str().unwrap().contains("`workers` cannot change"), "{value:#}");
}

/// Three listeners go at the same moment; each lets its own streams have the time that it says.
#[tokio::test]
async fn each_listener_that_goes_waits_for_as_long_as_its_own_drain_says() {
    const SHORT: Duration = Duration::from_millis(700);
    let go = Arc::new(Notify::new());
    let (slow, raw) = (waiting(&go).await, tcp::echo().await);
    let config = |goes: &str| {
        format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\n{goes}clusters:\n  app: {{ endpoints: ['{}'] }}\n  raw: {{ \
             endpoints: ['{}'], protocol: tcp }}\n",
            slow.address, raw.address
        )
    };
    let goes = |short: &str| {
        format!(
            "  short: {{ address: '127.0.0.1:0', cluster: app, drain: {short} }}\n  long: {{ address: '127.0.0.1:0', cluster: app, drain: 5m \
             }}\n  raw: {{ address: '127.0.0.1:0', protocol: tcp, cluster: raw, drain: {short} }}\n"
        )
    };
    let mut proxy = Proxy::start(config(&goes("5m"))).await;
    // What counts is what it said last.
    proxy.reload(&config(&goes("700ms"))).await;
    let mut short = Conn::to(proxy.listener("short")).await;
    let mut long = Conn::to(proxy.listener("long")).await;
    let mut idle = Conn::to(proxy.listener("long")).await;
    let mut tcp = Conn::to(proxy.listener("raw")).await;
    let mut h2 = h2::Client::to(proxy.listener("long")).await;
    short.send(GET).await;
    long.send(GET).await;
    let (answer, _) = h2.begin(h2::request("GET", "/"), true).await;
    slow.received(3).await;
    tcp.send("hello").await;
    assert_eq!(tcp.bytes(5).await, b"hello");

    let began = Instant::now();
    proxy.reload(&config("")).await;
    // Nobody is in the middle of anything here.
    assert!(idle.closed().await);
    // A connection that goes on is not cut before its time.
    let mut echoes = 0;
    loop {
        if tcp.try_send("hello").await.is_err() || tcp.some().await.is_empty() {
            break;
        }
        echoes += 1;
    }
    let cut = began.elapsed();
    assert!(cut >= SHORT && echoes > 0, "a TCP connection was cut after {cut:?}");
    assert!(short.closed().await);
    println!("cut after {cut:?}, a request after {:?}", began.elapsed());
    assert!(began.elapsed() >= SHORT);
    // The others have more patience, and are asked to go with their answer.
    go.notify_waiters();
    let ended = long.response("GET").await;
    assert_eq!((ended.status(), ended.header("connection")), (200, Some("close")));
    assert!(long.closed().await);
    assert_eq!(whole(answer).await.unwrap().status, 200);
}
