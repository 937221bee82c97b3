//! TLS on both sides.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{
    Conn, Launch, Proxy, Upstream,
    h2::{self as two, Client},
    tls::{self, Authority},
};

const CERTIFICATES: &str =
    "certificates: [{ certificate: a.pem, key: a.key }, { certificate: wild.pem, key: wild.key }]";

/// A listener with two certificates and more settings of its TLS.
async fn listener(
    authority: &Authority,
    more: &str,
    upstream: &Upstream,
) -> (Proxy, tls::Certificate, tls::Certificate) {
    let (a, wild) = (authority.issue(&["a.example"]), authority.issue(&["*.wild.example"]));
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, tls: {{ {CERTIFICATES}{more} }} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let launch = Launch::new(yaml).file("ca.pem", authority.pem());
    let launch =
        launch.file("a.pem", &a.pem).file("a.key", &a.key).file("wild.pem", &wild.pem).file("wild.key", &wild.key);
    (launch.start().await, a, wild)
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_picks_the_certificate() {
    let (authority, upstream) = (Authority::new(), Upstream::says("x").await);
    let (proxy, a, wild) = listener(&authority, "", &upstream).await;
    for (name, expected) in [("a.example", &a), ("b.wild.example", &wild)] {
        let stream = tls::connect(proxy.web(), authority.client(None, &[]), name).await.unwrap();
        assert!(expected.was_shown(&stream), "{name}");
        let mut conn = Conn::over(stream);
        assert_eq!(conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "x");
    }
    let error =
        tls::connect(proxy.web(), authority.client(None, &[]), "other.example").await.expect_err("no certificate fits");
    assert!(error.to_string().contains("certificate"), "{error}");
    proxy.metric_reaches("fyke_listener_connections_refused_total", &[("reason", "tls")], 1.0).await;
}

#[tokio::test]
async fn clients_must_show_a_certificate_where_an_authority_is_named() {
    let (authority, upstream) = (Authority::new(), Upstream::says("x").await);
    let (proxy, ..) = listener(&authority, ", client_ca: ca.pem", &upstream).await;
    let stranger = Authority::new();
    let (known, unknown) = (authority.issue(&["client"]), stranger.issue(&["client"]));
    let stream = tls::connect(proxy.web(), authority.client(Some(&known), &[]), "a.example").await.unwrap();
    assert_eq!(Conn::over(stream).exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "x");
    for own in [None, Some(&unknown)] {
        // With TLS 1.3 the client hears of the refusal with its first read.
        let Ok(stream) = tls::connect(proxy.web(), authority.client(own, &[]), "a.example").await else { continue };
        let mut conn = Conn::over(stream);
        let _ = conn.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(conn.head().await.is_none(), "served without a certificate that counts");
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_client_without_tls_is_not_served() {
    let (authority, upstream) = (Authority::new(), Upstream::says("x").await);
    let (proxy, ..) = listener(&authority, "", &upstream).await;
    let mut conn = proxy.connect().await;
    conn.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!String::from_utf8_lossy(&conn.rest().await).contains("HTTP/1.1 200"));
    assert_eq!(upstream.seen().len(), 0);
}

/// A handshake: the name that was asked for, the protocol that was agreed on, and whether an earlier session went on.
type Handshake = (Option<String>, Option<Vec<u8>>, bool);

/// A TLS server that answers requests over HTTP/1.1 or HTTP/2.
pub async fn tls_upstream(
    config: rustls::ServerConfig,
) -> (std::net::SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Handshake>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (told, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let Ok(stream) = TlsAcceptor::from(Arc::new(config.clone())).accept(stream).await else { continue };
            let session = stream.get_ref().1;
            let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
            let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            told.send((session.server_name().map(str::to_owned), alpn.clone(), resumed)).unwrap();
            tokio::spawn(async move {
                if alpn.as_deref() == Some(b"h2") {
                    let script = |_, mut respond: h2::server::SendResponse<bytes::Bytes>| async move {
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        two::push(&mut body, "secret", true).await;
                    };
                    return two::serve(stream, Arc::new(script)).await;
                }
                let mut conn = Conn::over(stream);
                while conn.request().await.is_some() {
                    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await;
                }
            });
        }
    });
    (address, heard)
}

fn cluster(address: std::net::SocketAddr, more: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\nclusters:\n  app: {{ endpoints: ['{address}'], {more} }}\n"
    )
}

#[tokio::test]
async fn upstreams_are_verified_by_name_and_authority() {
    let authority = Authority::new();
    let own = authority.issue(&["test.example"]);
    let (address, mut heard) = tls_upstream(authority.server(&own, false, &[])).await;
    // `auto` asks for the request's host, which the support module sends as test.example.
    let proxy = Launch::new(cluster(address, "tls: { ca: ca.pem }")).file("ca.pem", authority.pem()).start().await;
    assert_eq!(proxy.get("/").await.text(), "secret");
    assert_eq!(heard.recv().await.unwrap().0.as_deref(), Some("test.example"));
    let proxy = Launch::new(cluster(address, "tls: { ca: ca.pem, sni: other.example }"))
        .file("ca.pem", authority.pem())
        .start()
        .await;
    let answer = proxy.get("/").await;
    assert_eq!((answer.status(), answer.text().contains("upstream_tls_failure")), (503, true), "{answer:?}");
    let proxy =
        Launch::new(cluster(address, "tls: { ca: ca.pem }")).file("ca.pem", Authority::new().pem()).start().await;
    let answer = proxy.get("/").await;
    assert_eq!((answer.status(), answer.text().contains("upstream_tls_failure")), (503, true), "{answer:?}");
    proxy.logged(&["upstream_tls_failure", &address.to_string()]).await;
}

#[tokio::test]
async fn endpoints_whose_certificates_are_revoked_get_nothing() {
    let authority = Authority::new();
    let (good, bad) = (authority.issue(&["test.example"]), authority.issue(&["test.example"]));
    let list = authority.revoke(&bad);
    for (own, status) in [(&good, 200), (&bad, 503)] {
        let (address, _heard) = tls_upstream(authority.server(own, false, &[])).await;
        let yaml = cluster(address, "tls: { ca: ca.pem, crl: crl.pem }");
        let proxy = Launch::new(yaml).file("ca.pem", authority.pem()).file("crl.pem", list.clone()).start().await;
        let answer = proxy.get("/").await;
        assert_eq!(answer.status(), status, "{answer:?}");
        if status == 503 {
            assert!(answer.text().contains("upstream_tls_failure"), "{answer:?}");
            proxy.logged(&["upstream_tls_failure", "Revoked"]).await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_verified_for_one_host_serves_no_other() {
    let authority = Authority::new();
    let own = authority.issue(&["a.example", "b.example"]);
    for alpn in [&["http/1.1"][..], &["h2"][..]] {
        let (address, mut heard) = tls_upstream(authority.server(&own, false, alpn)).await;
        let yaml = cluster(address, "protocol: auto, tls: { ca: ca.pem }");
        let proxy = Launch::new(yaml).file("ca.pem", authority.pem()).start().await;
        let mut client = proxy.connect().await;
        for host in ["a.example", "b.example", "A.example:80", "b.example"] {
            assert_eq!(client.exchange(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await.text(), "secret");
        }
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: c.example\r\n\r\n").await;
        assert_eq!((answer.status(), answer.text().contains("upstream_tls_failure")), (503, true), "{answer:?}");
        let names: Vec<_> = [heard.recv().await, heard.recv().await].into_iter().map(|one| one.unwrap().0).collect();
        assert_eq!(names, [Some("a.example".to_owned()), Some("b.example".to_owned())]);
        assert!(heard.try_recv().is_err(), "{alpn:?}: a connection more than there are names");
    }
}

#[tokio::test]
async fn sessions_are_resumed_on_both_sides() {
    let authority = Authority::new();
    let own = authority.issue(&["test.example"]);
    let (address, mut heard) = tls_upstream(authority.server(&own, false, &[])).await;
    // Each connection serves one request, so the second request needs a second handshake.
    let yaml = cluster(address, "pool: { requests_per_connection: 1 }, tls: { ca: ca.pem }");
    let proxy = Launch::new(yaml).file("ca.pem", authority.pem()).workers(1).start().await;
    for _ in 0..2 {
        assert_eq!(proxy.get("/").await.text(), "secret");
    }
    assert_eq!([heard.recv().await.unwrap().2, heard.recv().await.unwrap().2], [false, true]);
    let upstream = Upstream::says("x").await;
    let (proxy, ..) = listener(&authority, "", &upstream).await;
    let client = authority.client(None, &[]);
    let mut resumed = Vec::new();
    for _ in 0..2 {
        let stream = tls::connect(proxy.web(), client.clone(), "a.example").await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        let mut conn = Conn::over(stream);
        // Tickets come with the first answer.
        assert_eq!(conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "x");
        resumed.push(kind == Some(rustls::HandshakeKind::Resumed));
    }
    assert_eq!(resumed, [false, true]);
}

#[tokio::test]
async fn upstreams_get_a_client_certificate_and_choose_the_version() {
    let authority = Authority::new();
    let (own, mine) = (authority.issue(&["test.example"]), authority.issue(&["proxy"]));
    for (alpn, spoken) in
        [(&["h2", "http/1.1"][..], Some(b"h2".to_vec())), (&["http/1.1"][..], Some(b"http/1.1".to_vec()))]
    {
        let (address, mut heard) = tls_upstream(authority.server(&own, true, alpn)).await;
        let yaml = cluster(
            address,
            "protocol: auto, tls: { ca: ca.pem, certificate: me.pem, key: me.key, sni: test.example }",
        );
        let proxy = Launch::new(yaml)
            .file("ca.pem", authority.pem())
            .file("me.pem", &mine.pem)
            .file("me.key", &mine.key)
            .start()
            .await;
        assert_eq!(proxy.get("/").await.text(), "secret");
        assert_eq!(heard.recv().await.unwrap().1, spoken);
    }
    let (address, _heard) = tls_upstream(authority.server(&own, true, &[])).await;
    let proxy = Launch::new(cluster(address, "tls: { ca: ca.pem, sni: test.example }"))
        .file("ca.pem", authority.pem())
        .start()
        .await;
    assert_eq!(
        proxy.get("/").await.status(),
        503,
        "an upstream that asks for a certificate must not be reached without"
    );
}

#[tokio::test]
async fn http2_over_tls_end_to_end() {
    let (authority, upstream) = (Authority::new(), Upstream::says("x").await);
    let (proxy, ..) = listener(&authority, "", &upstream).await;
    let stream = tls::connect(proxy.web(), authority.client(None, &["h2"]), "a.example").await.unwrap();
    let mut client = Client::over(stream).await;
    let (response, _) = client.begin(http::Request::get("https://a.example/s").body(()).unwrap(), true).await;
    assert_eq!(two::whole(response).await.unwrap().body, b"x");
    assert_eq!((upstream.last().path(), upstream.last().header("host")), ("/s", Some("a.example")));
}
