//! Much, many and long. Each runs in a small size with all tests, and in full with `FYKE_LONG=1` (`tests/run --long`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::chain::{misbehave, official};
use crate::{
    guests,
    support::{Conn, Proxy, Upstream, eventually, long, noise, proxy::resident},
};

const MIB: usize = 1024 * 1024;

/// The most memory that a process held since this was made.
struct Peak {
    most: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Peak {
    fn of(pid: u32) -> Self {
        let peak = Self { most: Arc::default(), stop: Arc::default() };
        let (most, stop) = (Arc::clone(&peak.most), Arc::clone(&peak.stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let Some(now) = resident(pid) else { return };
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        peak
    }

    fn growth(&self, since: usize) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.most.load(Ordering::SeqCst).saturating_sub(since)
    }
}

/// request-id, access-log, router and two filters on the official SDK, one of which writes bodies anew.
fn five_filters(upstream: std::net::SocketAddr) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [request-id, access-log, router, header, upper] }}\n\
         filters:\n  \
           request-id: {{ module: builtin:request-id }}\n  \
           access-log: {{ module: builtin:access-log, config: {{ sink: log }} }}\n  \
           router: {{ module: builtin:router, config: {{ routes: [{{ cluster: app, timeout: 0s }}] }} }}\n  \
           header: {{ module: {:?} }}\n  \
           upper: {}\n\
         sinks:\n  log: {{ file: access.log }}\n\
         clusters:\n  app: {{ endpoints: ['{upstream}'] }}\n",
        guests::HEADER,
        official("upper", "")
    )
}

/// Sends back what it is sent, as it comes.
async fn streaming_echo() -> Upstream {
    Upstream::scripted(|mut conn, _, _| async move {
        while let Some(head) = conn.head().await {
            assert_eq!(head.header("transfer-encoding"), Some("chunked"));
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            loop {
                let Some(chunk) = conn.chunk().await else { return };
                if conn.patient_send(&framed(&chunk)).await.is_err() {
                    return;
                }
                if chunk.is_empty() {
                    conn.bytes(2).await;
                    break;
                }
            }
        }
    })
    .await
}

fn framed(chunk: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
}

/// Sends so many bytes through the proxy and back, and looks at each of them.
async fn there_and_back(proxy: &Proxy, total: usize) {
    let piece: Vec<u8> = noise(64 * 1024, 9).iter().map(|byte| b'a' + byte % 26).collect();
    let expected = piece.to_ascii_uppercase();
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let (mut sent, mut received) = (0, 0);
    let mut answered = false;
    while received < total {
        // A window of eight pieces keeps both directions busy without a second task.
        while sent < total && sent < received + 8 * piece.len() {
            client.send(framed(&piece)).await;
            sent += piece.len();
        }
        if !std::mem::replace(&mut answered, true) {
            assert_eq!(client.head().await.unwrap().status(), 200);
        }
        let chunk = client.chunk().await.expect("the answer goes on");
        for byte in &chunk {
            assert!(*byte == expected[received % expected.len()], "byte {received} is another one");
            received += 1;
        }
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.chunk().await.unwrap(), b"");
    assert_eq!(received, total);
}

#[tokio::test]
async fn streaming_through_five_filters_holds_no_memory() {
    let total = if long() { 1024 * MIB } else { 96 * MIB };
    let upstream = streaming_echo().await;
    let proxy = Proxy::start(five_filters(upstream.address)).await;
    there_and_back(&proxy, 8 * MIB).await;
    let before = proxy.resident();
    let peak = Peak::of(proxy.pid());
    there_and_back(&proxy, total).await;
    let grown = peak.growth(before);
    assert!(grown < 16 * MIB, "{total} bytes each way made the proxy grow by {grown}");
}

/// Room for many sockets, as far as the system lets us.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[tokio::test]
async fn idle_connections_cost_little() {
    let count = if long() { 10_000 } else { 4_000 };
    let files = raise_file_limit();
    assert!(files > count as u64 + 1_000, "this process may open {files} files only; raise it with `ulimit -n`");
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, limits: {{ connections: 15000, idle_timeout: 1h }} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    for _ in 0..50 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    let before = proxy.resident();
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = proxy.connect().await;
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
        clients.push(client);
    }
    proxy.metric_reaches("fyke_listener_connections_active", &[], count as f64).await;
    let allowed = 16 * 1024;
    eventually("each connection to cost at most 16 KiB", async || {
        (proxy.resident().saturating_sub(before) / count <= allowed).then_some(())
    })
    .await;
    let all: Vec<&mut Conn> = clients.iter_mut().collect();
    for client in all {
        assert_eq!(client.exchange("GET /again HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "x");
    }
}

#[tokio::test]
async fn a_filter_that_breaks_all_the_time_costs_nobody_else_anything() {
    let time = Duration::from_secs(if long() { 60 } else { 4 });
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [bad], cluster: app }}\n  good: {{ address: '127.0.0.1:0', cluster: app }}\n\
         filters:\n  bad: {}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n  callout: {{ endpoints: ['{}'] }}\n",
        misbehave("", "allow: { clusters: [callout] }, limits: { memory: 16MiB }, "),
        upstream.address,
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    let (web, good) = (proxy.web(), proxy.listener("good"));
    let before = proxy.resident();
    let peak = Peak::of(proxy.pid());
    let until = Instant::now() + time;
    // Every other stream is served: an instance that never serves one is paused for longer and longer, and would trap seldom.
    let phases =
        ["request_headers", "request_body", "response_headers", "response_body", "log", "done", "http_call_response"];
    let breakers = (0..4).map(|seed| async move {
        let mut served = 0;
        let mut round = seed;
        while Instant::now() < until {
            round += 1;
            let order = if round % 2 == 0 {
                format!("{} {}", phases[round / 2 % phases.len()], ["panic", "trap", "loop", "memory"][round / 3 % 4])
            } else {
                "never nothing".to_owned()
            };
            let mut client = Conn::to(web).await;
            let request = format!("POST / HTTP/1.1\r\nhost: a\r\nx-misbehave: {order}\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc");
            client.send(request).await;
            let answer = String::from_utf8_lossy(&client.rest().await).into_owned();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"), "{answer}");
            served += 1;
        }
        served
    });
    let neighbours = (0..2).map(|_| async move {
        let mut client = Conn::to(good).await;
        let mut served = 0;
        while Instant::now() < until {
            assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
            served += 1;
        }
        served
    });
    let (broken, served) = futures_util::future::join(
        futures_util::future::join_all(breakers),
        futures_util::future::join_all(neighbours),
    )
    .await;
    assert!(
        broken.iter().sum::<usize>() > 20 && served.iter().sum::<usize>() > 100,
        "{broken:?} and {served:?} requests only"
    );
    let traps = proxy.metric("fyke_filter_traps_total", &[("filter", "bad")]).await;
    assert!(traps > 5.0 * time.as_secs_f64(), "{traps} traps only");
    let grown = peak.growth(before);
    assert!(grown < 128 * MIB, "the proxy grew by {grown} bytes over {traps} traps");
    // The instance that stands there now works.
    eventually("a stream that is served", async || (proxy.get("/").await.status() == 200).then_some(())).await;
}
