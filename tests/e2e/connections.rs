//! What a cluster says of its connections beyond their number: age, probes, names, where they come from.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::{
    support::{Conn, Launch, Proxy, Upstream, eventually, tls::Authority},
    tls::tls_upstream,
};

async fn cluster(address: SocketAddr, more: &str) -> Proxy {
    Proxy::start(format!(
        "workers: 1\nlisteners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\nclusters:\n  app: {{ endpoints: ['{address}'], {more} }}\n"
    ))
    .await
}

#[tokio::test]
async fn an_old_connection_is_replaced_by_a_new_one() {
    let upstream = Upstream::says("x").await;
    let proxy = cluster(upstream.address, "pool: { max_age: 400ms }").await;
    assert_eq!(proxy.get("/1").await.text(), "x");
    eventually("another connection, although the first one is never idle for long", async || {
        proxy.get("/2").await;
        (proxy.metric("fyke_cluster_connections_total", &[]).await >= 2.0).then_some(())
    })
    .await;
    proxy.metric_reaches("fyke_cluster_connections_active", &[], 0.0).await;
}

#[tokio::test]
async fn connections_are_opened_before_they_are_needed() {
    let upstream = Upstream::says("x").await;
    let proxy = cluster(upstream.address, "pool: { preconnect: 2, keepalive: {} }").await;
    assert_eq!(proxy.get("/").await.text(), "x");
    proxy.metric_reaches("fyke_cluster_pool_idle", &[], 2.0).await;
    assert_eq!(upstream.connections(), 2);
    for _ in 0..5 {
        proxy.get("/").await;
    }
    assert_eq!(proxy.metric("fyke_cluster_connections_total", &[]).await, 2.0);
}

#[tokio::test]
async fn connections_come_from_the_address_that_is_written() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = cluster(socket.local_addr().unwrap(), "bind: 127.0.0.77").await;
    let (accepted, answer) = tokio::join!(
        async {
            let (stream, peer) = socket.accept().await.unwrap();
            let mut conn = Conn::over(stream);
            conn.request().await.unwrap();
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            peer
        },
        proxy.get("/")
    );
    assert_eq!((accepted.ip().to_string().as_str(), answer.status()), ("127.0.0.77", 200));
}

/// A TLS endpoint whose certificate has `names`; the cluster trusts its authority and has `more`.
async fn encrypted(names: &[&str], more: &str) -> (Proxy, impl Sized) {
    let authority = Authority::new();
    let server = authority.server(&authority.issue(names), false, &["http/1.1"]);
    let (address, heard) = tls_upstream(server).await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\nclusters:\n  app: {{ endpoints: ['{address}'], tls: {{ ca: ca.pem, {more} }} }}\n"
    );
    (Launch::new(yaml).file("ca.pem", authority.pem()).start().await, heard)
}

#[tokio::test]
async fn the_names_that_are_listed_count_and_not_the_one_that_was_asked_for() {
    for (names, status) in [("['*.internal']", 200), ("[b.internal, a.internal]", 200), ("['*.example']", 503)] {
        let more = format!("sni: whatever.example, subject_alternative_names: {names}");
        let (proxy, _heard) = encrypted(&["a.internal"], &more).await;
        let answer = proxy.get("/").await;
        assert_eq!(answer.status(), status, "{names}: {answer:?}");
        assert_eq!(answer.text().contains("upstream_tls_failure"), status == 503);
    }
}

/// Serves one request a connection and says the line in front of it.
async fn told() -> Upstream {
    Upstream::scripted(|mut conn, _, recorder| async move {
        let Some(line) = conn.line().await else { return };
        let Some(request) = conn.request().await else { return };
        recorder.saw(&request);
        let length = line.len();
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{line}")).await;
    })
    .await
}

#[tokio::test]
async fn endpoints_are_told_who_the_client_is_and_no_two_clients_share_a_connection() {
    let upstream = told().await;
    let proxy = cluster(upstream.address, "proxy_protocol: v1").await;
    for _ in 0..2 {
        let stream = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
        let (own, web) = (stream.local_addr().unwrap(), proxy.web());
        let mut client = Conn::over(stream);
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}", own.port(), web.port());
        assert_eq!(answer.text(), expected);
    }
    assert_eq!(upstream.connections(), 2);
    proxy.metric_reaches("fyke_cluster_connections_active", &[], 0.0).await;
}
