//! `101 Switching Protocols`: WebSocket and the like.

use crate::{
    chain::{chain, official},
    support::{Proxy, Reply, Upstream, eventually, h2},
};

/// Greets, and says again what it hears.
async fn chat() -> Upstream {
    Upstream::scripted(|mut conn, _, recorder| async move {
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
    .await
}

#[tokio::test]
async fn a_websocket_is_tunnelled_in_both_directions() {
    let upstream = chat().await;
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

#[tokio::test]
async fn a_101_that_does_not_say_to_what_is_a_bad_gateway() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\nwelcome").await;
        conn.rest().await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let key = UPGRADE.replace("\r\n\r\n", "\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    let answer = proxy.connect().await.exchange(&key).await;
    assert_eq!((answer.status(), answer.header("sec-websocket-accept")), (502, None));
    assert!(answer.text().contains("unexpected_upgrade"), "{}", answer.text());
}

/// Other answers than the one that makes a tunnel are answers, whoever gives them.
#[tokio::test]
async fn a_filter_may_say_no_to_an_upgrade_that_was_made() {
    let upstream = echo().await;
    for (steps, told) in [("status 403", 403), ("status 200", 200)] {
        let proxy = Proxy::start(chain(upstream.address, &[("no", official(steps, ""))])).await;
        let mut client = proxy.connect().await;
        let answer = client.exchange(UPGRADE).await;
        let fields = ["connection", "upgrade", "transfer-encoding"].map(|name| answer.header(name).is_some());
        assert_eq!((answer.status(), answer.text(), fields), (told, String::new(), [false; 3]), "{steps}");
        // The connection goes on as what it was.
        assert_eq!(client.exchange(UPGRADE).await.status(), told, "{steps}");
        eventually("the upstream's connections to be closed", async || (upstream.open() == 0).then_some(())).await;
    }
}

/// A server that changes the protocol and sends back what it is sent.
async fn echo() -> Upstream {
    Upstream::scripted(|mut conn, _, _| async move {
        if conn.head().await.is_none() {
            return;
        }
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
        conn.echo().await;
    })
    .await
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

async fn tunnel(proxy: &Proxy) -> crate::support::Conn {
    let mut client = proxy.connect().await;
    client.send(UPGRADE).await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    client
}

async fn is_open(client: &mut crate::support::Conn) {
    client.send("hello").await;
    assert_eq!(client.bytes(5).await, b"hello");
}

#[tokio::test]
async fn a_tunnel_is_a_connection_that_counts_on_both_sides() {
    let upstream = echo().await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, limits: {{ connections: 2 }} }}\nclusters:\n  \
           app: {{ endpoints: ['{}'], connect_timeout: 300ms, pool: {{ connections: 1 }} }}\n",
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    let mut first = tunnel(&proxy).await;
    is_open(&mut first).await;
    assert_eq!(proxy.metric("fyke_listener_connections_active", &[("listener", "web")]).await, 1.0);
    assert_eq!(proxy.metric("fyke_cluster_connections_active", &[("cluster", "app")]).await, 1.0);
    // The pool's only connection is the tunnel's.
    let mut second = proxy.connect().await;
    assert_eq!(second.exchange(UPGRADE).await.status(), 503);
    assert!(proxy.connect().await.closed().await, "a third connection is one too many");
    drop(first);
    eventually("both sides to be free again", async || {
        let listener = proxy.metric("fyke_listener_connections_active", &[("listener", "web")]).await;
        let cluster = proxy.metric("fyke_cluster_connections_active", &[("cluster", "app")]).await;
        (listener <= 1.0 && cluster == 0.0).then_some(())
    })
    .await;
    is_open(&mut tunnel(&proxy).await).await;
}

#[tokio::test]
async fn a_tunnel_outlives_the_beginning_of_a_drain() {
    let upstream = echo().await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, drain: 20s }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let mut proxy = Proxy::start(yaml).await;
    let mut client = tunnel(&proxy).await;
    is_open(&mut client).await;
    proxy.signal(rustix::process::Signal::TERM);
    proxy.logged(&["draining"]).await;
    is_open(&mut client).await;
    assert!(proxy.is_running());
    drop(client);
    assert_eq!(proxy.ended().await, Some(0));
}

/// Has an HTTP/2 client talk through a tunnel that stands, to its end. Returns what is left of the answer.
pub async fn converse(
    response: http::Response<::h2::RecvStream>,
    body: &mut ::h2::SendStream<bytes::Bytes>,
) -> ::h2::RecvStream {
    let fields = ["connection", "upgrade", "sec-websocket-accept"].map(|name| response.headers().contains_key(name));
    assert_eq!((response.status().as_u16(), fields), (200, [false; 3]));
    let mut answer = response.into_body();
    assert_eq!(h2::next(&mut answer).await.unwrap().unwrap(), "welcome");
    body.send_data("ping".into(), false).unwrap();
    assert_eq!(h2::next(&mut answer).await.unwrap().unwrap(), "ping");
    body.send_data("".into(), true).unwrap();
    assert_eq!(h2::next(&mut answer).await.unwrap().unwrap(), "bye");
    answer
}

/// As a browser does on a connection that speaks HTTP/2 (RFC 8441).
#[tokio::test]
async fn a_websocket_over_http2_is_an_upgrade_to_everybody_else() {
    let upstream = chat().await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = h2::Client::to(proxy.web()).await;
    eventually("the proxy to say that it can", async || {
        client.send.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    let mut request = h2::request("CONNECT", "/chat");
    request.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
    let (response, mut body) = client.begin(request, false).await;
    let response = response.await.unwrap();
    let mut answer = converse(response, &mut body).await;
    assert_eq!(h2::drain(&mut answer).await.unwrap().0, b"");
    let seen = upstream.last();
    assert_eq!((seen.method(), seen.path()), ("GET", "/chat"));
    assert_eq!((seen.header("upgrade"), seen.header("sec-websocket-version")), (Some("websocket"), Some("13")));
    assert!(seen.header("sec-websocket-key").is_some());
}
