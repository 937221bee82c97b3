//! The header of a proxy in front, before HTTP, HTTPS and TCP.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    chain::official,
    guests,
    support::{
        Conn, Launch, Proxy, Upstream, soon,
        tls::{self, Authority},
    },
    tcp,
};

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A header of version 2 with a value that nobody knows.
fn v2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut block = Vec::new();
    for address in [source, destination] {
        match address {
            SocketAddr::V4(address) => block.extend(address.ip().octets()),
            SocketAddr::V6(address) => block.extend(address.ip().octets()),
        }
    }
    block.extend(source.port().to_be_bytes());
    block.extend(destination.port().to_be_bytes());
    block.extend([0xE0, 0, 3, 1, 2, 3]);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.push(if source.is_ipv4() { 0x11 } else { 0x21 });
    header.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    header.extend(block);
    header
}

/// The proxy's own health checks.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn http(upstream: &Upstream, mode: &str, more: &str) -> String {
    let shows = official("properties source.address,source.port,destination.address,destination.port", "");
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', proxy_protocol: {mode}, filters: [shows], cluster: app{more} }}\nfilters:\n  shows: {shows}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    )
}

/// What the filters saw of a request, of source and destination.
async fn seen(conn: &mut Conn) -> (String, String) {
    let answer = conn.exchange(GET).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let of = |name: &str| answer.header(&format!("x-request-{name}")).unwrap_or_default().to_owned();
    (of("source.address"), of("destination.address"))
}

#[tokio::test]
async fn both_versions_tell_filters_who_the_client_is() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(http(&upstream, "require", "")).await;
    let six: (SocketAddr, SocketAddr) = ("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap());
    let four = ("203.0.113.7:4711".to_owned(), "192.0.2.1:443".to_owned());
    for (header, expected) in [
        (V1.to_vec(), four.clone()),
        (v2(four.0.parse().unwrap(), four.1.parse().unwrap()), four),
        (v2(six.0, six.1), (six.0.to_string(), six.1.to_string())),
    ] {
        let mut conn = proxy.connect().await;
        // Header and request in one piece: what follows the header is the request.
        conn.send([&header[..], GET.as_bytes()].concat()).await;
        assert_eq!(conn.response("GET").await.status(), 200);
        assert_eq!(seen(&mut conn).await, expected);
    }
    // Byte by byte.
    let mut conn = proxy.connect().await;
    for byte in V1 {
        conn.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(seen(&mut conn).await.0, "203.0.113.7:4711");
}

#[tokio::test]
async fn where_the_proxy_speaks_for_itself_the_connection_has_its_own_addresses() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(http(&upstream, "require", "")).await;
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let mut conn = proxy.connect().await;
        conn.send(header).await;
        let (source, destination) = seen(&mut conn).await;
        assert!(source.starts_with("127.0.0.1:") && destination == proxy.web().to_string(), "{source} {destination}");
    }
}

#[tokio::test]
async fn a_client_without_a_header_is_refused_where_one_is_required() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(http(&upstream, "require", ", limits: { header_timeout: 300ms }")).await;
    for first in [GET.as_bytes(), b"PROXY TCP4 1.2.3.4 5.6.7.8 1 x\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\0\0\0", b"PROXY "] {
        let mut conn = proxy.connect().await;
        conn.send(first).await;
        assert_eq!(conn.rest().await, b"", "closed without a word");
    }
    let refused = [("reason", "proxy_protocol")];
    proxy.metric_reaches("fyke_listener_connections_refused_total", &refused, 4.0).await;
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_header_may_be_missing_where_it_is_only_accepted_and_may_not_be_broken() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(http(&upstream, "accept", "")).await;
    assert!(seen(&mut proxy.connect().await).await.0.starts_with("127.0.0.1:"));
    let mut conn = proxy.connect().await;
    conn.send(V1).await;
    assert_eq!(seen(&mut conn).await.0, "203.0.113.7:4711");
    // It begins like a header, and is a request.
    let mut conn = proxy.connect().await;
    conn.send("P").await;
    conn.send("UT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(conn.response("PUT").await.status(), 200);
    let mut conn = proxy.connect().await;
    conn.send("PROXY TCP4 nobody\r\n").await;
    assert!(conn.closed().await);
    let refused = [("reason", "proxy_protocol")];
    proxy.metric_reaches("fyke_listener_connections_refused_total", &refused, 1.0).await;
}

#[tokio::test]
async fn headers_are_believed_of_those_that_are_named() {
    let upstream = Upstream::says("x").await;
    let from = |networks: &str| format!(", proxy_protocol_from: [{networks}]");
    for mode in ["accept", "require"] {
        let proxy = Proxy::start(http(&upstream, mode, &from("10.0.0.0/8, 127.0.0.0/8"))).await;
        let mut conn = proxy.connect().await;
        conn.send(V1).await;
        assert_eq!(seen(&mut conn).await.0, "203.0.113.7:4711");
    }
    let proxy = Proxy::start(http(&upstream, "accept", &from("10.0.0.0/8"))).await;
    assert!(seen(&mut proxy.connect().await).await.0.starts_with("127.0.0.1:"));
    let mut conn = proxy.connect().await;
    conn.send([V1, GET.as_bytes()].concat()).await;
    assert_eq!(conn.response("GET").await.status(), 400, "it is no request");
    let proxy = Proxy::start(http(&upstream, "require", &from("10.0.0.0/8"))).await;
    let mut conn = proxy.connect().await;
    conn.try_send([V1, GET.as_bytes()].concat()).await.ok();
    assert_eq!(conn.rest().await, b"");
    let refused = [("reason", "proxy_protocol")];
    proxy.metric_reaches("fyke_listener_connections_refused_total", &refused, 1.0).await;
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let (authority, upstream) = (Authority::new(), Upstream::says("x").await);
    let own = authority.issue(&["a.example"]);
    let tls = ", tls: { certificates: [{ certificate: a.pem, key: a.key }] }";
    let launch = Launch::new(http(&upstream, "accept", tls)).file("a.pem", &own.pem).file("a.key", &own.key);
    let proxy = launch.start().await;
    let plain = tls::connect(proxy.web(), authority.client(None, &[]), "a.example").await.unwrap();
    assert!(seen(&mut Conn::over(plain)).await.0.starts_with("127.0.0.1:"));
    // The hello in the same piece as the header: it is not lost.
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let mut stream = TcpStream::connect(proxy.web()).await.unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut first = vec![0; 16 * 1024];
        let count = near.read(&mut first).await.unwrap();
        stream.write_all(&[V1, &first[..count]].concat()).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut stream).await;
    });
    let connector = TlsConnector::from(std::sync::Arc::new(authority.client(None, &[])));
    let connected = soon("a handshake", connector.connect("a.example".try_into().unwrap(), far)).await.unwrap();
    assert_eq!(seen(&mut Conn::over(connected)).await.0, "203.0.113.7:4711");
}

#[tokio::test]
async fn bytes_of_a_tcp_connection_follow_the_header() {
    let upstream = tcp::echo().await;
    let yaml = tcp::listener(upstream.address, &[("f", "property=source.address")], ", proxy_protocol: require");
    let proxy = Proxy::start(yaml).await;
    assert!(std::path::Path::new(guests::STREAM).exists());
    let mut conn = proxy.connect().await;
    conn.send([V1, b"first"].concat()).await;
    assert_eq!(conn.bytes(5).await, b"first");
    conn.send("second").await;
    assert_eq!(conn.bytes(6).await, b"second");
    proxy.logged(&["203.0.113.7:4711"]).await;
    conn.finish().await;
    assert_eq!(conn.rest().await, b"");
    let mut conn = proxy.connect().await;
    conn.send("first").await;
    assert_eq!(conn.rest().await, b"");
}

#[tokio::test]
async fn where_nothing_was_redirected_the_destination_is_the_connections_own() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(http(&upstream, "off", ", original_destination: use")).await;
    assert_eq!(seen(&mut proxy.connect().await).await.1, proxy.web().to_string());
}
