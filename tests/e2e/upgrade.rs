//! `101 Switching Protocols`: WebSocket and the like.

use crate::support::{Proxy, Reply, Upstream};

#[tokio::test]
async fn a_websocket_is_tunnelled_in_both_directions() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        let head = conn.head().await.unwrap();
        recorder.saw(&head);
        // What the server says at once must not be lost behind the head.
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: abc\r\n\r\nwelcome").await;
        loop {
            let bytes = conn.some().await;
            if bytes.is_empty() {
                conn.send("bye").await;
                return;
            }
            conn.send(bytes).await;
        }
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: xyz\r\n\r\n").await;
    let answer = client.head().await.unwrap();
    assert_eq!(
        (answer.status(), answer.header("upgrade"), answer.header("sec-websocket-accept")),
        (101, Some("websocket"), Some("abc"))
    );
    assert!(answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert_eq!(client.bytes(7).await, b"welcome");
    let seen = upstream.last();
    assert_eq!((seen.header("upgrade"), seen.header("sec-websocket-key")), (Some("websocket"), Some("xyz")));
    for size in [1, 100, 70_000] {
        let bytes = crate::support::noise(size, size as u64);
        client.send(&bytes).await;
        assert!(client.bytes(size).await == bytes, "{size} bytes came back changed");
    }
    // One side's end is passed on, and the other direction stays open.
    client.finish().await;
    assert_eq!(client.rest().await, b"bye");
    proxy.metric_reaches("fyke_listener_requests_total", &[("class", "1xx")], 1.0).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = Upstream::http(|_| Reply::new(426).header("upgrade", "h2c")).await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let answer =
        client.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(answer.status(), 426);
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 426);
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_bad_gateway() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
        conn.rest().await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    assert_eq!(proxy.get("/").await.status(), 502);
}
