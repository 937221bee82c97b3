//! Limits and timeouts of listeners.

use std::time::{Duration, Instant};

use crate::support::{Proxy, Upstream, eventually, h2, soon};

async fn limited(limits: &str) -> (Upstream, Proxy) {
    let upstream = Upstream::echo().await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, limits: {limits} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    (upstream, Proxy::start(yaml).await)
}

#[tokio::test]
async fn heads_beyond_the_default_limits_get_431() {
    let upstream = Upstream::echo().await;
    let proxy = Proxy::plain(upstream.address).await;
    let many: String = (0..120).map(|number| format!("x-{number}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(70 * 1024));
    for (name, headers) in [("many", many), ("large", large)] {
        let mut client = proxy.connect().await;
        let _ = client.try_send(format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await;
        let answer = client.head().await.unwrap_or_default();
        assert!(answer.start.contains(" 431 "), "{name}: {answer:?}");
    }
    let fits: String = (0..95).map(|number| format!("x-{number}: {}\r\n", "a".repeat(300))).collect();
    let answer = proxy.get_with("/", &fits).await;
    assert_eq!(answer.status(), 200, "a large head within the limits");
    assert_eq!(upstream.seen().len(), 1);
    proxy.metric_reaches("fyke_listener_protocol_errors_total", &[("reason", "too_large")], 2.0).await;
}

#[tokio::test]
async fn the_number_of_headers_is_limited_on_http2_too() {
    let (upstream, proxy) = limited("{ headers: 20 }").await;
    let mut client = h2::Client::to(proxy.web()).await;
    let mut request = h2::request("GET", "/");
    for number in 0..30 {
        request
            .headers_mut()
            .insert(http::HeaderName::try_from(format!("x-{number}")).unwrap(), http::HeaderValue::from_static("1"));
    }
    let (response, _) = client.begin(request, true).await;
    assert_eq!(h2::whole(response).await.unwrap().status, 431);
    assert_eq!(client.get("/").await.status, 200, "the connection goes on");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_trickles_its_head_is_cut_off_with_408() {
    let (upstream, proxy) = limited("{ header_timeout: 1s, idle_timeout: 60s }").await;
    let mut client = proxy.connect().await;
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n").await;
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if client.try_send("x: y\r\n").await.is_err() {
                break;
            }
            if !client.silent(Duration::from_millis(1)).await {
                break;
            }
        }
        client.rest().await
    };
    let got = crate::support::soon("the cut", trickle).await;
    assert!(begun.elapsed() >= Duration::from_millis(700), "cut off after {:?}", begun.elapsed());
    assert!(String::from_utf8_lossy(&got).starts_with("HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&got));
    assert_eq!(upstream.seen().len(), 0);
    proxy.metric_reaches("fyke_listener_header_timeouts_total", &[], 1.0).await;
}

#[tokio::test]
async fn a_second_request_on_a_connection_is_timed_from_its_own_first_byte() {
    let (upstream, proxy) = limited("{ header_timeout: 1s, idle_timeout: 60s }").await;
    let mut client = proxy.connect().await;
    assert_eq!(client.exchange("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
    // Idle for longer than a head may take: that is no offence.
    assert!(client.silent(Duration::from_millis(2500)).await, "an idle connection was closed by the header timeout");
    assert_eq!(client.exchange("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
    client.send("GET /3 HT").await;
    let got = client.rest().await;
    assert!(got.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&got));
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_at_the_header_timeout() {
    let (_upstream, proxy) = limited("{ header_timeout: 500ms }").await;
    let mut client = proxy.connect().await;
    assert!(client.closed().await);
}

#[tokio::test]
async fn idle_connections_are_closed_at_the_idle_timeout() {
    let (_upstream, proxy) = limited("{ idle_timeout: 1s }").await;
    let begun = Instant::now();
    let mut client = proxy.connect().await;
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
    let mut client2 = h2::Client::to(proxy.web()).await;
    assert_eq!(client2.get("/").await.status, 200);
    assert!(client.closed().await);
    let _ = crate::support::soon("the end of the HTTP/2 connection", client2.connection).await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "closed after {:?}", begun.elapsed());
    proxy.metric_reaches("fyke_listener_idle_timeouts_total", &[], 2.0).await;
}

#[tokio::test]
async fn a_request_in_flight_is_not_idle() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            conn.send("2\r\nok\r\n").await;
        }
        conn.send("0\r\n\r\n").await;
    })
    .await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, limits: {{ idle_timeout: 1500ms, header_timeout: 500ms }} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    assert_eq!(proxy.get("/").await.text(), "ok".repeat(8));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let (_upstream, proxy) = limited("{ connections: 2 }").await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 200);
        kept.push(client);
    }
    let mut third = proxy.connect().await;
    assert!(third.closed().await);
    proxy.metric_reaches("fyke_listener_connections_refused_total", &[("reason", "limit")], 1.0).await;
    kept.pop();
    eventually("room for another one", async || {
        let mut client = proxy.connect().await;
        let _ = client.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.head().await.filter(|head| head.status() == 200)
    })
    .await;
}

#[tokio::test]
async fn open_streams_of_a_connection_are_limited() {
    let upstream = h2::Upstream::scripted(|_request, respond| async move {
        // Never answers: the streams stay open.
        std::future::pending::<()>().await;
        drop(respond);
    })
    .await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, limits: {{ streams: 5 }} }}\nclusters:\n  app: {{ protocol: http2, endpoints: ['{}'] }}\n",
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    let client = h2::Client::to(proxy.web()).await;
    eventually("the settings", async || (client.send.current_max_send_streams() == 5).then_some(())).await;
}

/// The preface, settings, and a header block that does not end.
fn open_head() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // HEADERS without END_HEADERS: `:method: GET` from the static table.
    bytes.extend_from_slice(&[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82]);
    bytes
}

#[tokio::test]
async fn a_head_that_trickles_in_continuations_is_cut_off() {
    let (upstream, proxy) = limited("{ header_timeout: 500ms, idle_timeout: 60s }").await;
    let mut client = proxy.connect().await;
    client.send(open_head()).await;
    // One CONTINUATION of 16 KiB, byte by byte.
    client.send([0, 0x40, 0, 9, 0, 0, 0, 0, 1]).await;
    let trickle = async {
        while client.try_send([0]).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    soon("the end of a connection that trickles", trickle).await;
    proxy.metric_reaches("fyke_listener_header_timeouts_total", &[], 1.0).await;
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn pings_keep_no_connection_without_streams() {
    let (_upstream, proxy) = limited("{ header_timeout: 500ms, idle_timeout: 1s }").await;
    let mut client = proxy.connect().await;
    client.send(&open_head()[..33]).await;
    let ping = async {
        while client.try_send([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    soon("the end of a connection that only pings", ping).await;
    proxy.metric_reaches("fyke_listener_idle_timeouts_total", &[], 1.0).await;
}
