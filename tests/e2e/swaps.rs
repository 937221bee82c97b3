//! Modules are swapped under load, and nobody notices.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    guests,
    support::{
        Conn, Launch, Proxy, Upstream,
        h2::{self, whole},
        load::{Load, Turn},
    },
    tcp,
};

/// The same module with another content hash: a custom section that nobody reads.
fn renumbered(module: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = module.to_vec();
    bytes.extend_from_slice(&[0, 6, 1, b'n']);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

/// Clients of every kind. Whatever fails, or closes a connection, panics.
fn load(proxy: &Proxy) -> Load {
    let (web, raw) = (proxy.web(), proxy.listener("raw"));
    let mut load = Load::default();
    for kind in 0..8 {
        load.client(async move |turn: Turn| match kind % 4 {
            0 => {
                let mut conn = Conn::to(web).await;
                while turn.goes_on() {
                    let answer = conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
                    assert_eq!((answer.status(), answer.header("x-guest-response")), (200, Some("seen")));
                    turn.answered();
                }
            }
            1 => {
                let mut client = h2::Client::to(web).await;
                while turn.goes_on() {
                    let (response, _) = client.begin(h2::request("GET", "/"), true).await;
                    assert_eq!(whole(response).await.unwrap().status, 200);
                    turn.answered();
                }
            }
            2 => {
                let mut conn = Conn::to(web).await;
                conn.send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
                assert_eq!(conn.head().await.unwrap().status(), 101);
                echoed(conn, &turn).await;
            }
            _ => echoed(Conn::to(raw).await, &turn).await,
        });
    }
    load
}

/// Sends and receives on one connection for as long as the load goes on.
async fn echoed(mut conn: Conn, turn: &Turn) {
    while turn.goes_on() {
        conn.send("hello").await;
        assert_eq!(conn.bytes(5).await, b"hello");
        turn.answered();
    }
}

/// Answers requests and changes to an echo where asked to.
async fn upstream() -> Upstream {
    Upstream::scripted(|mut conn, _, _| async move {
        while let Some(request) = conn.request().await {
            if request.header("upgrade").is_none() {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
                continue;
            }
            conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
            return conn.echo().await;
        }
    })
    .await
}

async fn swap(proxy: &mut Proxy, module: &[u8], number: u32) -> Duration {
    let file = proxy.path("f.wasm");
    let next = proxy.path("f.wasm.next");
    std::fs::write(&next, renumbered(module, number)).unwrap();
    std::fs::rename(Path::new(&next), &file).unwrap();
    let began = Instant::now();
    let (status, value) = proxy.act("/reload", "").await;
    assert_eq!((status, value["outcome"].as_str()), (200, Some("applied")), "{value:#}");
    began.elapsed()
}

/// `FYKE_LONG=1`: a thousand swaps in five minutes; else fifty as fast as they go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_nothing_and_leave_nothing() {
    let long = std::env::var_os("FYKE_LONG").is_some();
    let (swaps, pace) = if long { (1000, Duration::from_millis(300)) } else { (50, Duration::ZERO) };
    let module = std::fs::read(guests::HEADER_FYKE).unwrap();
    let (http, raw) = (upstream().await, tcp::echo().await);
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\n  raw: {{ address: '127.0.0.1:0', protocol: tcp, \
         cluster: raw }}\nfilters:\n  f: {{ module: f.wasm }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n  raw: {{ endpoints: \
         ['{}'], protocol: tcp }}\n",
        http.address, raw.address
    );
    let mut proxy = Launch::new(yaml).file("f.wasm", &module).workers(2).start().await;
    let load = load(&proxy);
    let mut at_fifty = 0;
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    for number in 1..=swaps {
        slowest = slowest.max(swap(&mut proxy, &module, number).await);
        if number == 50 {
            at_fifty = proxy.resident();
        }
        tokio::time::sleep_until((began + pace * number).into()).await;
    }
    let answers = load.end().await;
    let resident = proxy.resident();
    println!(
        "{swaps} swaps in {:?}, slowest {slowest:?}, {answers} answers; resident {at_fifty} after 50, {resident} at the end",
        began.elapsed()
    );
    assert!(answers > 0);
    // Four connections of each kind at most are open now, and two of each were all the time.
    assert_eq!(proxy.metric("fyke_filter_failed_streams_total", &[]).await, 0.0);
    assert_eq!(proxy.metric("fyke_listener_requests_total", &[("class", "5xx")]).await, 0.0);
    if long {
        assert!(resident < at_fifty + at_fifty / 10, "{at_fifty} bytes after 50 swaps, {resident} after {swaps}");
    }
}
