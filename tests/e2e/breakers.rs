//! Circuit breakers: limits that hold over all workers, what whoever meets one is told, and that all of it comes back.

use std::{
    io::{Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Response;
use tokio::sync::Semaphore;

use crate::support::{
    Conn, Message, Proxy, Site, Upstream, endpoints, eventually,
    faulty::{answer, silent},
    h2 as frames,
    site::Record,
};

/// Answers when it is let. Counts the connections that are open at one time.
async fn gated() -> (Upstream, Arc<Semaphore>, Arc<AtomicUsize>) {
    let gate = Arc::new(Semaphore::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(AtomicUsize::new(0));
    let (hold, peak) = (Arc::clone(&gate), Arc::clone(&most));
    let upstream = Upstream::scripted(move |mut conn, _, recorder| {
        let (hold, peak, now) = (Arc::clone(&hold), Arc::clone(&peak), Arc::clone(&now));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while let Some(request) = conn.request().await {
                recorder.saw(&request);
                hold.acquire().await.unwrap().forget();
                if answer(&mut conn, "ok").await.is_err() {
                    break;
                }
            }
            now.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    (upstream, gate, most)
}

async fn ask(proxy: &Proxy, path: &str) -> Conn {
    let mut client = proxy.connect().await;
    client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    client
}

async fn remaining(proxy: &Proxy, limit: &str, priority: &str) -> f64 {
    proxy
        .metric(
            "fyke_cluster_circuit_breaker_remaining",
            &[("cluster", "app"), ("limit", limit), ("priority", priority)],
        )
        .await
}

#[track_caller]
fn remains<'a>(proxy: &'a Proxy, limit: &'a str, priority: &'a str, value: f64) -> impl Future<Output = ()> {
    eventually(format!("{value} of {limit} to remain"), async move || {
        (remaining(proxy, limit, priority).await == value).then_some(())
    })
}

async fn refused(proxy: &Proxy, answer: &Message, path: &str, why: &str, limit: &str) {
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert_eq!(Record::of(proxy, path).await.told(), (503, why, "UO"));
    proxy.logged(&[why, &format!("circuit_breakers.{limit}")]).await;
    proxy.metric_reaches("fyke_cluster_overflows_total", &[("cluster", "app"), ("limit", limit)], 1.0).await;
}

/// Answers requests, and counts connections so that it cannot be wrong: whenever one is accepted, it looks at the kernel for which of the
/// others the proxy has closed.
struct Counting {
    address: std::net::SocketAddr,
    most: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Counting {
    fn new() -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let (most, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (peak, end) = (Arc::clone(&most), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut open: Vec<std::net::TcpStream> = Vec::new();
            while !end.load(Ordering::SeqCst) {
                while let Ok((stream, _)) = socket.accept() {
                    stream.set_nonblocking(true).unwrap();
                    open.retain(|other| !matches!(other.peek(&mut [0]), Ok(0)));
                    open.push(stream);
                    peak.fetch_max(open.len(), Ordering::SeqCst);
                }
                open.retain_mut(|stream| {
                    let mut bytes = [0; 4096];
                    match stream.read(&mut bytes) {
                        Ok(0) => false,
                        // Requests without a body come in one piece here.
                        Ok(_) => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_ok(),
                        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
                    }
                });
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self { address, most, stop, thread: Some(thread) }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().unwrap().join();
    }
}

#[tokio::test]
async fn four_workers_never_open_more_connections_than_allowed() {
    let upstream = Counting::new();
    let cluster =
        format!("connect_timeout: 60s, circuit_breakers: {{ connections: 10 }}, {}", endpoints(&[upstream.address]));
    let proxy = Site::app("timeout: 0s", &cluster).workers(4).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let web = proxy.web();
        clients.spawn(async move {
            // Each comes anew several times, so that connections of the pool move from worker to worker.
            for _ in 0..5 {
                let mut conn = Conn::to(web).await;
                for _ in 0..4 {
                    assert_eq!(conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "ok");
                }
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let most = upstream.most.load(Ordering::SeqCst);
    assert!((2..=10).contains(&most), "{most} connections at one time");
    remains(&proxy, "requests", "default", 1024.0).await;
    remains(&proxy, "pending", "default", 1024.0).await;
}

#[tokio::test]
async fn the_queue_for_connections_is_limited() {
    let (upstream, gate, _) = gated().await;
    let cluster = format!(
        "connect_timeout: 60s, circuit_breakers: {{ connections: 1, pending: 2 }}, {}",
        endpoints(&[upstream.address])
    );
    let proxy = Site::app("timeout: 0s", &cluster).start().await;
    let mut clients = vec![ask(&proxy, "/1").await];
    upstream.received(1).await;
    for path in ["/2", "/3"] {
        clients.push(ask(&proxy, path).await);
    }
    remains(&proxy, "pending", "default", 0.0).await;
    remains(&proxy, "connections", "default", 0.0).await;
    let answer = ask(&proxy, "/over").await.response("GET").await;
    refused(&proxy, &answer, "/over", "upstream_pending_overflow", "pending").await;
    gate.add_permits(3);
    for client in &mut clients {
        assert_eq!(client.response("GET").await.text(), "ok");
    }
    remains(&proxy, "pending", "default", 2.0).await;
    gate.add_permits(1);
    assert_eq!(proxy.get("/again").await.text(), "ok");
}

#[tokio::test]
async fn requests_in_flight_are_limited_over_all_workers() {
    let (upstream, gate, _) = gated().await;
    let cluster = format!("circuit_breakers: {{ requests: 3 }}, {}", endpoints(&[upstream.address]));
    let proxy = Site::app("timeout: 0s", &cluster).workers(4).await;
    let mut clients = Vec::new();
    for number in 0..3 {
        clients.push(ask(&proxy, &format!("/{number}")).await);
        upstream.received(number + 1).await;
    }
    remains(&proxy, "requests", "default", 0.0).await;
    for number in 0..6 {
        let path = format!("/over/{number}");
        let answer = ask(&proxy, &path).await.response("GET").await;
        refused(&proxy, &answer, &path, "upstream_requests_exceeded", "requests").await;
    }
    assert_eq!(upstream.seen().len(), 3);
    // A client that leaves makes room as well as an answer.
    drop(clients.pop());
    remains(&proxy, "requests", "default", 1.0).await;
    gate.add_permits(10);
    for client in &mut clients {
        assert_eq!(client.response("GET").await.text(), "ok");
    }
    remains(&proxy, "requests", "default", 3.0).await;
    assert_eq!(proxy.get("/again").await.text(), "ok");
}

#[tokio::test]
async fn connections_to_one_endpoint_are_limited() {
    let (upstream, gate, most) = gated().await;
    let cluster = format!("circuit_breakers: {{ connections_per_endpoint: 2 }}, {}", endpoints(&[upstream.address]));
    let proxy = Site::app("timeout: 0s", &cluster).start().await;
    let mut clients = Vec::new();
    for number in 0..2 {
        clients.push(ask(&proxy, &format!("/{number}")).await);
        upstream.received(number + 1).await;
    }
    let answer = ask(&proxy, "/over").await.response("GET").await;
    refused(&proxy, &answer, "/over", "upstream_endpoint_connections_exceeded", "connections_per_endpoint").await;
    gate.add_permits(10);
    for client in &mut clients {
        assert_eq!(client.response("GET").await.text(), "ok");
    }
    assert_eq!(proxy.get("/again").await.text(), "ok");
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn high_priority_has_limits_of_its_own() {
    let (upstream, gate, _) = gated().await;
    let cluster =
        format!("circuit_breakers: {{ requests: 1, high: {{ requests: 1 }} }}, {}", endpoints(&[upstream.address]));
    let site = Site::default()
        .route("match: { path_prefix: /high }, cluster: app, priority: high, timeout: 0s")
        .route("cluster: app, timeout: 0s")
        .cluster("app", &cluster);
    let proxy = site.start().await;
    let mut usual = ask(&proxy, "/usual").await;
    upstream.received(1).await;
    assert_eq!(ask(&proxy, "/usual/2").await.response("GET").await.status(), 503);
    let mut high = ask(&proxy, "/high").await;
    upstream.received(2).await;
    assert_eq!(ask(&proxy, "/high/2").await.response("GET").await.status(), 503);
    remains(&proxy, "requests", "high", 0.0).await;
    gate.add_permits(2);
    assert_eq!((usual.response("GET").await.status(), high.response("GET").await.status()), (200, 200));
    remains(&proxy, "requests", "high", 1.0).await;
    remains(&proxy, "requests", "default", 1.0).await;
}

#[tokio::test]
async fn a_stream_that_ends_makes_room_on_its_http2_connection() {
    let gate = Arc::new(Semaphore::new(0));
    let count = Arc::new(AtomicUsize::new(0));
    let (hold, asked) = (Arc::clone(&gate), Arc::clone(&count));
    let upstream = frames::Upstream::scripted(move |_, mut respond| {
        let (hold, asked) = (Arc::clone(&hold), Arc::clone(&asked));
        async move {
            asked.fetch_add(1, Ordering::SeqCst);
            hold.acquire().await.unwrap().forget();
            respond.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let cluster = format!(
        "protocol: http2, connect_timeout: 25s, circuit_breakers: {{ connections: 1 }}, {}",
        endpoints(&[upstream.address])
    );
    let proxy = Site::app("timeout: 0s", &cluster).start().await;
    let mut clients = Vec::new();
    // A hundred streams are as many as one connection takes.
    for number in 0..100 {
        clients.push(ask(&proxy, &format!("/{number}")).await);
    }
    eventually("a hundred streams", async || (count.load(Ordering::SeqCst) == 100).then_some(())).await;
    let mut waiting = ask(&proxy, "/waiting").await;
    proxy.metric_reaches("fyke_cluster_pending_requests", &[("cluster", "app")], 1.0).await;
    gate.add_permits(1);
    eventually("the one that waits to be sent", async || (count.load(Ordering::SeqCst) == 101).then_some(())).await;
    gate.add_permits(100);
    assert_eq!(waiting.response("GET").await.status(), 200);
    for client in &mut clients {
        assert_eq!(client.response("GET").await.status(), 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn whatever_way_requests_end_nothing_stays_counted() {
    let hanging = silent().await;
    let stalling = Upstream::scripted(|mut conn, _, _| async move {
        while conn.head().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
            conn.rest().await;
        }
    })
    .await;
    let (resetting, refusing) =
        (crate::support::faulty::Resetting::new().await, crate::support::upstream::Refusing::new());
    let mut site = Site::default();
    let retry = "retry: { on: [5xx, reset], attempts: 2, per_try_timeout: 2s, backoff: { base: 1ms } }, hedge: { on_per_try_timeout: true }";
    for (name, address) in [
        ("hang", hanging.address),
        ("stall", stalling.address),
        ("reset", resetting.address),
        ("refuse", refusing.address),
    ] {
        site = site
            .route(&format!("match: {{ path_prefix: /{name} }}, cluster: {name}, timeout: 3s, {retry}, mirror: [{{ cluster: {name} }}]"))
            .cluster(name, &endpoints(&[address]));
    }
    let proxy = site.workers(2).await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..80_u64 {
        let web = proxy.web();
        clients.spawn(async move {
            let name = ["hang", "stall", "reset", "refuse"][usize::try_from(number % 4).unwrap()];
            let mut conn = Conn::to(web).await;
            conn.send(format!("POST /{name}/{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello")).await;
            if number % 3 != 0 {
                let _ = conn.try_send("world").await;
            }
            // Clients leave at any point: the time is what differs.
            let patience = Duration::from_millis(number * 7);
            let _ = tokio::time::timeout(patience, conn.rest()).await;
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    eventually("everything to come back to nothing", async || {
        let text = proxy.ask("/metrics").await.text();
        let metric = |name: &str, labels: &[(&str, &str)]| crate::support::proxy::metric(&text, name, labels);
        let clean = [
            "fyke_cluster_requests_active",
            "fyke_cluster_pending_requests",
            "fyke_cluster_connections_active",
            "fyke_cluster_pool_idle",
        ]
        .iter()
        .all(|name| metric(name, &[]) == 0.0);
        let whole = ["hang", "stall", "reset", "refuse"].iter().all(|name| {
            let left = |limit| {
                metric(
                    "fyke_cluster_circuit_breaker_remaining",
                    &[("cluster", name), ("limit", limit), ("priority", "default")],
                )
            };
            left("requests") == 1024.0
                && left("pending") == 1024.0
                && left("connections") == 1024.0
                && left("retries") == 3.0
        });
        (clean && whole).then_some(())
    })
    .await;
    let page = proxy.page("/clusters").await;
    for name in ["hang", "stall", "reset", "refuse"] {
        assert_eq!(page[name]["endpoints"][0]["connections"], 0, "{name}");
    }
}
