//! Who does not read is not read for: memory stays bounded, and every byte arrives once.

use std::{net::SocketAddr, time::Duration};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::chain::official;
use crate::support::{Conn, Proxy, Upstream, eventually, h2, noise};

const MIB: usize = 1024 * 1024;
const TOTAL: usize = 96 * MIB;
/// What sockets' buffers on both sides of the proxy hold on this system, with room to spare.
const IN_FLIGHT: usize = 48 * MIB;
/// What the proxy may grow by while somebody does not read.
const GROWTH: usize = 16 * MIB;

/// Everything to one cluster, without a timeout, through these filters.
pub fn streaming(upstream: SocketAddr, protocol: &str, before: &str, filters: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [{before}router] }}\n\
         filters:\n  router: {{ module: builtin:router, config: {{ routes: [{{ cluster: app, timeout: 0s }}] }} }}\n{filters}\
         clusters:\n  app: {{ protocol: {protocol}, endpoints: ['{upstream}'] }}\n"
    )
}

/// An upstream that reads a request of `TOTAL` bytes when it is told to, and answers with their hash.
async fn hashing(gate: watch::Receiver<bool>) -> Upstream {
    Upstream::scripted(move |mut conn, _, recorder| {
        let mut gate = gate.clone();
        async move {
            recorder.saw(&conn.head().await.unwrap());
            gate.wait_for(|open| *open).await.unwrap();
            let hash = hash_of(&mut conn).await;
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{hash}", hash.len())).await;
        }
    })
    .await
}

/// Reads `TOTAL` bytes.
async fn hash_of(conn: &mut Conn) -> String {
    let mut hash = Sha256::new();
    let mut read = 0;
    while read < TOTAL {
        let bytes = conn.some().await;
        assert!(!bytes.is_empty(), "the body ended after {read} bytes");
        read += bytes.len();
        hash.update(&bytes);
    }
    assert_eq!(read, TOTAL, "more bytes than were sent");
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn expected(pattern: &[u8]) -> String {
    let mut hash = Sha256::new();
    for _ in 0..TOTAL / pattern.len() {
        hash.update(pattern);
    }
    hex(hash)
}

#[tokio::test]
async fn an_upstream_that_does_not_read_stops_the_client() {
    let (open, gate) = watch::channel(false);
    let upstream = hashing(gate).await;
    let proxy = Proxy::start(streaming(upstream.address, "http1", "", "")).await;
    let mut client = proxy.connect().await;
    let before = proxy.resident();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {TOTAL}\r\n\r\n")).await;
    let pattern = noise(64 * 1024, 1);
    let mut sent = 0;
    // Until nothing moves any more.
    while let Ok(result) = tokio::time::timeout(Duration::from_millis(700), client.try_send(&pattern)).await {
        result.unwrap();
        sent += pattern.len();
        assert!(sent < IN_FLIGHT, "{sent} bytes were taken although nobody reads them");
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < GROWTH, "the proxy grew by {grown} bytes");
    drop(client);
    drop(open);
}

#[tokio::test]
async fn a_large_request_arrives_byte_for_byte() {
    let (open, gate) = watch::channel(false);
    let upstream = hashing(gate).await;
    let proxy = Proxy::start(streaming(upstream.address, "http1", "", "")).await;
    let mut client = proxy.connect().await;
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {TOTAL}\r\n\r\n")).await;
    upstream.received(1).await;
    let before = proxy.resident();
    open.send(true).unwrap();
    let pattern = noise(64 * 1024, 1);
    for _ in 0..TOTAL / pattern.len() {
        client.send(&pattern).await;
    }
    let grown = proxy.resident().saturating_sub(before);
    assert_eq!(client.response("POST").await.text(), expected(&pattern));
    assert!(grown < GROWTH, "the proxy grew by {grown} bytes");
}

/// An upstream that sends `TOTAL` bytes, and how many it has got rid of.
async fn sending(pattern: Vec<u8>) -> (Upstream, watch::Receiver<usize>) {
    let (told, heard) = watch::channel(0);
    let upstream = Upstream::scripted(move |mut conn, _, _| {
        let (pattern, told) = (pattern.clone(), told.clone());
        async move {
            conn.request().await.unwrap();
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n")).await;
            for number in 1..=TOTAL / pattern.len() {
                if conn.patient_send(&pattern).await.is_err() {
                    return;
                }
                told.send_replace(number * pattern.len());
            }
        }
    })
    .await;
    (upstream, heard)
}

/// Waits until the upstream gets rid of nothing any more.
async fn stalled(sent: &watch::Receiver<usize>) -> usize {
    let mut last = (0, std::time::Instant::now());
    eventually("the upstream to stall", async || {
        let now = *sent.borrow();
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        (now > 0 && last.1.elapsed() > Duration::from_millis(700)).then_some(now)
    })
    .await
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    let pattern = noise(64 * 1024, 2);
    let (upstream, sent) = sending(pattern.clone()).await;
    let proxy = Proxy::start(streaming(upstream.address, "http1", "", "")).await;
    let before = proxy.resident();
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let taken = stalled(&sent).await;
    assert!(taken < IN_FLIGHT, "{taken} bytes were taken although nobody reads them");
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < GROWTH, "the proxy grew by {grown} bytes");
    client.head().await.unwrap();
    assert_eq!(hash_of(&mut client).await, expected(&pattern));
}

#[tokio::test]
async fn filters_that_edit_bodies_are_bounded_as_well() {
    let pattern: Vec<u8> = noise(64 * 1024, 3).iter().map(|byte| b'a' + byte % 26).collect();
    let (upstream, sent) = sending(pattern.clone()).await;
    let filters = format!("  one: {}\n  two: {}\n", official("upper", ""), official("upper; trailers", ""));
    let proxy = Proxy::start(streaming(upstream.address, "http1", "one, two, ", &filters)).await;
    let mut stopped = Vec::new();
    let mut before = 0;
    for number in 0..4 {
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let taken = stalled(&sent).await;
        assert!(taken < IN_FLIGHT, "{taken} bytes were taken although nobody reads them");
        stopped.push(client);
        if number == 0 {
            // What the first stream costs beyond its bytes is the guests' own memory, which they keep.
            before = proxy.resident();
        }
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < GROWTH, "three streams that are not read made the proxy grow by {grown} bytes");
    let mut client = stopped.pop().unwrap();
    client.head().await.unwrap();
    assert_eq!(hash_of(&mut client).await, expected(&pattern.to_ascii_uppercase()));
}

#[tokio::test]
async fn one_stream_that_is_not_read_does_not_hold_up_another_on_its_connection() {
    let pattern = noise(64 * 1024, 4);
    let (upstream, sent) = sending(pattern.clone()).await;
    let quick = Upstream::says("quick").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router] }}\n\
         filters:\n  router: {{ module: builtin:router, config: {{ routes: [{{ match: {{ path: /quick }}, cluster: quick }}, {{ cluster: app, timeout: 0s }}] }} }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n  quick: {{ endpoints: ['{}'] }}\n",
        upstream.address, quick.address
    );
    let proxy = Proxy::start(yaml).await;
    let before = proxy.resident();
    let mut client = h2::Client::to(proxy.web()).await;
    let (response, _) = client.begin(h2::request("GET", "/large"), true).await;
    let mut large = response.await.unwrap().into_body();
    let taken = stalled(&sent).await;
    assert!(taken < IN_FLIGHT, "{taken} bytes were taken although nobody reads them");
    for _ in 0..5 {
        assert_eq!(client.get("/quick").await.body, b"quick");
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < GROWTH, "the proxy grew by {grown} bytes");
    let mut hash = Sha256::new();
    while let Some(data) = h2::next(&mut large).await.unwrap() {
        hash.update(&data);
    }
    assert_eq!(hex(hash), expected(&pattern));
}
