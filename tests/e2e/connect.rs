//! CONNECT: tunnels that end here, and tunnels that are asked for further on.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    chain::official,
    support::{Conn, Proxy, Reply, Upstream, endpoints, eventually, h2, noise, soon},
};

const CONNECT: &str = "CONNECT db.internal:5432 HTTP/1.1\r\nhost: db.internal:5432\r\n\r\n";

/// A route for CONNECT with these words, one for everything else, and what is said of the cluster.
fn configuration(route: &str, endpoints: &str, cluster: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router], drain: 20s }}\n\
         filters:\n  router: {{ module: builtin:router, config: {{ routes: [{{ match: {{ connect: true }}, cluster: app{route} }}, {{ cluster: app }}] }} }}\n\
         clusters:\n  app: {{ {endpoints}{cluster} }}\n"
    )
}

async fn terminating(upstream: SocketAddr) -> Proxy {
    Proxy::start(configuration(", connect: {}", &endpoints(&[upstream]), "")).await
}

async fn forwarding(upstream: SocketAddr, protocol: &str) -> Proxy {
    Proxy::start(configuration("", &endpoints(&[upstream]), &format!(", protocol: {protocol}"))).await
}

/// Greets, says again what it hears, and takes its leave.
async fn chat() -> Upstream {
    Upstream::scripted(|mut conn, _, _| async move {
        conn.send("welcome").await;
        conn.echo().await;
        conn.send("bye").await;
    })
    .await
}

/// A proxy that answers so, and then is the other end of the tunnel itself.
async fn next_proxy(answer: &'static str) -> Upstream {
    Upstream::scripted(move |mut conn, _, recorder| async move {
        let Some(head) = conn.head().await else { return };
        recorder.saw(&head);
        conn.send(answer).await;
        conn.echo().await;
        conn.send("bye").await;
    })
    .await
}

fn connect() -> Request<()> {
    Request::builder().method("CONNECT").uri("db.internal:5432").body(()).unwrap()
}

async fn heard(body: &mut ::h2::RecvStream, expected: &[u8]) {
    let mut all = Vec::new();
    while all.len() < expected.len() {
        all.extend_from_slice(&h2::next(body).await.unwrap().expect("the tunnel ended early"));
    }
    assert!(all == expected, "what came through the tunnel was changed");
}

#[tokio::test]
async fn a_connect_is_a_tunnel_to_an_endpoint_of_the_cluster() {
    let upstream = chat().await;
    let proxy = terminating(upstream.address).await;
    let mut client = proxy.connect().await;
    // A client that is in a hurry does not wait for the answer.
    client.send(format!("{CONNECT}early")).await;
    let answer = client.head().await.unwrap();
    assert_eq!(answer.start, "HTTP/1.1 200 OK");
    assert_eq!(["content-length", "transfer-encoding", "connection"].map(|name| answer.header(name)), [None; 3]);
    let mut greeted = client.bytes(12).await;
    greeted.sort_unstable();
    let mut expected = b"welcomeearly".to_vec();
    expected.sort_unstable();
    assert_eq!(greeted, expected);
    for size in [1, 100, 70_000, 1_000_000] {
        let bytes = noise(size, size as u64);
        client.send(&bytes[..size / 2]).await;
        client.send(&bytes[size / 2..]).await;
        assert!(client.bytes(size).await == bytes, "{size} bytes came back changed");
    }
    assert_eq!(proxy.metric("fyke_cluster_connections_active", &[("cluster", "app")]).await, 1.0);
    // One side's end is passed on, and the other direction stays open.
    client.finish().await;
    assert_eq!(client.rest().await, b"bye");
    proxy.metric_reaches("fyke_cluster_requests_total", &[("cluster", "app"), ("class", "2xx")], 1.0).await;
    proxy.metric_reaches("fyke_listener_received_bytes_total", &[("listener", "web")], 1_070_106.0).await;
    eventually("the connection to be given back", async || {
        (proxy.metric("fyke_cluster_connections_active", &[("cluster", "app")]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connect_over_http2_is_a_stream_of_its_own() {
    let upstream = chat().await;
    let proxy = terminating(upstream.address).await;
    let mut client = h2::Client::to(proxy.web()).await;
    let (response, mut body) = client.begin(connect(), false).await;
    body.send_data("early".into(), false).unwrap();
    let response = soon("an answer", response).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().contains_key("content-length")), (200, false));
    let mut answer = response.into_body();
    let mut greeted = Vec::new();
    while greeted.len() < 12 {
        greeted.extend_from_slice(&h2::next(&mut answer).await.unwrap().unwrap());
    }
    greeted.sort_unstable();
    let mut expected = b"welcomeearly".to_vec();
    expected.sort_unstable();
    assert_eq!(greeted, expected);
    // A second tunnel on the same connection, and an ordinary stream beside them.
    let (second, mut second_body) = client.begin(connect(), false).await;
    let mut second = soon("an answer", second).await.unwrap().into_body();
    heard(&mut second, b"welcome").await;
    let bytes = noise(300_000, 7);
    tokio::join!(h2::push(&mut body, bytes.clone(), false), heard(&mut answer, &bytes));
    body.send_data(Bytes::new(), true).unwrap();
    heard(&mut answer, b"bye").await;
    assert_eq!(h2::drain(&mut answer).await.unwrap().0, b"");
    second_body.send_data("still here".into(), true).unwrap();
    heard(&mut second, b"still herebye").await;
    assert_eq!(h2::drain(&mut second).await.unwrap().0, b"");
}

#[tokio::test]
async fn the_upstreams_end_is_passed_on_and_the_client_may_go_on() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        conn.send("that is all").await;
        conn.finish().await;
        let heard = conn.rest().await;
        recorder.saw(&crate::support::Message { body: heard, ..Default::default() });
    })
    .await;
    let proxy = terminating(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send(CONNECT).await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    assert_eq!(client.rest().await, b"that is all");
    client.send("and yet").await;
    client.finish().await;
    eventually("the upstream to hear it", async || {
        upstream.seen().first().map(|seen| assert_eq!(seen.body, b"and yet"))
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_over_tls_is_encrypted_by_the_proxy() {
    use std::sync::Arc;
    let authority = crate::support::tls::Authority::new();
    let certificate = authority.issue(&["db.internal"]);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.server(&certificate, false, &[])));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        stream.write_all(heard.to_uppercase().as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        name
    });
    let yaml = configuration(", connect: {}", &endpoints(&[address]), ", protocol: tcp, tls: { ca: ca.pem }");
    // Such a cluster takes no requests, only tunnels.
    let yaml = yaml.replace(", { cluster: app }", "");
    let proxy = crate::support::Launch::new(yaml).file("ca.pem", authority.pem()).start().await;
    let mut client = proxy.connect().await;
    client.send(format!("{CONNECT}plain")).await;
    client.finish().await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    assert_eq!(client.rest().await, b"PLAIN");
    assert_eq!(server.await.unwrap().as_deref(), Some("db.internal"), "the name is that of the request");
}

#[tokio::test]
async fn a_connect_is_forwarded_to_a_proxy_that_speaks_http1() {
    let upstream = next_proxy("HTTP/1.1 200 Fine\r\nx-via: next\r\n\r\nwelcome").await;
    let proxy = forwarding(upstream.address, "http1").await;
    let mut client = proxy.connect().await;
    client
        .send("CONNECT db.internal:5432 HTTP/1.1\r\nhost: elsewhere\r\nproxy-authorization: Basic eA==\r\n\r\nearly")
        .await;
    let answer = client.head().await.unwrap();
    assert_eq!((answer.status(), answer.header("x-via")), (200, Some("next")));
    assert_eq!(["content-length", "transfer-encoding"].map(|name| answer.header(name)), [None; 2]);
    assert_eq!(client.bytes(12).await, b"welcomeearly");
    client.finish().await;
    assert_eq!(client.rest().await, b"bye");
    let seen = upstream.last();
    assert_eq!(seen.start, "CONNECT db.internal:5432 HTTP/1.1");
    assert_eq!(seen.header("host"), Some("db.internal:5432"));
    assert_eq!(["content-length", "transfer-encoding"].map(|name| seen.header(name)), [None; 2]);
    let mut client = h2::Client::to(proxy.web()).await;
    let (response, mut body) = client.begin(connect(), false).await;
    let mut answer = soon("an answer", response).await.unwrap().into_body();
    heard(&mut answer, b"welcome").await;
    body.send_data("over HTTP/2".into(), true).unwrap();
    heard(&mut answer, b"over HTTP/2bye").await;
}

#[tokio::test]
async fn a_connect_is_forwarded_to_a_proxy_that_speaks_http2() {
    let upstream = h2::Upstream::scripted(|request, mut respond| async move {
        let (parts, mut body) = request.into_parts();
        assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("CONNECT", "db.internal:5432"));
        let mut out = respond.send_response(http::Response::new(()), false).unwrap();
        while let Ok(Some(data)) = h2::next(&mut body).await {
            h2::push(&mut out, data, false).await;
        }
        h2::push(&mut out, "bye", true).await;
    })
    .await;
    let proxy = forwarding(upstream.address, "http2").await;
    let mut first = proxy.connect().await;
    first.send(format!("{CONNECT}early")).await;
    assert_eq!(first.head().await.unwrap().status(), 200);
    assert_eq!(first.bytes(5).await, b"early");
    let mut second = h2::Client::to(proxy.web()).await;
    let (response, mut body) = second.begin(connect(), false).await;
    let mut answer = soon("an answer", response).await.unwrap().into_body();
    let bytes = noise(300_000, 3);
    tokio::join!(h2::push(&mut body, bytes.clone(), false), heard(&mut answer, &bytes));
    body.send_data(Bytes::new(), true).unwrap();
    heard(&mut answer, b"bye").await;
    first.finish().await;
    assert_eq!(first.rest().await, b"bye");
    assert_eq!(upstream.connections(), 1, "tunnels share a connection as any streams do");
}

#[tokio::test]
async fn what_the_next_proxy_says_instead_is_the_answer() {
    let upstream = Upstream::http(|_| Reply::new(407).header("proxy-authenticate", "Basic").body("who?")).await;
    let proxy = forwarding(upstream.address, "http1").await;
    let mut client = proxy.connect().await;
    // What was meant for the tunnel is never taken for a request.
    client.send(format!("{CONNECT}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    let answer = client.response("CONNECT").await;
    let told = (answer.status(), answer.header("connection"), answer.header("proxy-authenticate"), answer.text());
    assert_eq!(told, (407, Some("close"), Some("Basic"), "who?".to_owned()));
    assert!(client.closed().await);
    assert!(upstream.seen().iter().all(|seen| seen.method() == "CONNECT"));
    let mut client = h2::Client::to(proxy.web()).await;
    let (response, _body) = client.begin(connect(), false).await;
    let answer = h2::whole(response).await.unwrap();
    assert_eq!((answer.status, answer.body), (407, b"who?".to_vec()));
}

#[tokio::test]
async fn a_tunnel_that_nobody_answers_at_the_other_end_is_refused() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = terminating(closed).await;
    let answer = proxy.connect().await.exchange(CONNECT).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("upstream_connect_failure"), "{}", answer.text());
    let mut client = h2::Client::to(proxy.web()).await;
    let (response, _body) = client.begin(connect(), false).await;
    assert_eq!(h2::whole(response).await.unwrap().status, 503);
    proxy.metric_reaches("fyke_cluster_requests_total", &[("cluster", "app"), ("class", "unreachable")], 2.0).await;
    // With nobody there at all.
    let proxy = Proxy::start(configuration(", connect: {}", "endpoints: []", "")).await;
    let answer = proxy.connect().await.exchange(CONNECT).await;
    assert_eq!((answer.status(), answer.text().contains("no_endpoint")), (503, true));
}

#[tokio::test]
async fn another_endpoint_is_tried_where_one_refuses() {
    let upstream = chat().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let yaml = configuration(", connect: {}", &endpoints(&[closed, upstream.address]), ", load_balancer: round_robin");
    let proxy = Proxy::start(yaml).await;
    for _ in 0..4 {
        let mut client = proxy.connect().await;
        client.send(CONNECT).await;
        assert_eq!(client.head().await.unwrap().status(), 200);
        assert_eq!(client.bytes(7).await, b"welcome");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_full_is_passed_over() {
    let upstreams = [chat().await, chat().await, chat().await];
    let cluster = ", circuit_breakers: { connections_per_endpoint: 1 }";
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let proxy = Proxy::start(configuration(", connect: {}", &endpoints(&addresses), cluster)).await;
    let mut tunnels = Vec::new();
    for number in 0..3 {
        let mut client = proxy.connect().await;
        client.send(CONNECT).await;
        assert_eq!(client.head().await.unwrap().status(), 200, "tunnel {number}");
        assert_eq!(client.bytes(7).await, b"welcome");
        tunnels.push(client);
    }
    assert!(upstreams.iter().all(|upstream| upstream.open() == 1));
    let answer = proxy.connect().await.exchange(CONNECT).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("upstream_endpoint_connections_exceeded"), "{}", answer.text());
    proxy.metric_reaches("fyke_cluster_overflows_total", &[("cluster", "app")], 1.0).await;
}

/// What a filter makes of the answer decides.
#[tokio::test]
async fn a_filter_may_say_no_to_a_tunnel_that_stands() {
    let upstream = chat().await;
    let yaml = configuration(", connect: {}", &endpoints(&[upstream.address]), "")
        .replace("filters: [router]", "filters: [no, router]")
        .replace("filters:\n  router", &format!("filters:\n  no: {}\n  router", official("status 403", "")));
    let proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    client.send(CONNECT).await;
    let answer = client.head().await.unwrap();
    let told = (answer.status(), answer.header("content-length"), answer.header("connection"));
    assert_eq!(told, (403, Some("0"), Some("close")));
    assert!(client.closed().await);
    let mut client = h2::Client::to(proxy.web()).await;
    let (response, _body) = client.begin(connect(), false).await;
    let answer = h2::whole(response).await.unwrap();
    assert_eq!((answer.status, answer.body), (403, Vec::new()));
    eventually("the upstream's connections to be closed", async || (upstream.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn only_routes_for_connect_take_one() {
    let upstream = Upstream::http(|_| Reply::ok("plain")).await;
    let answered = async |routes: &str, details: &str| {
        let yaml = format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router] }}\n\
             filters:\n  router: {{ module: builtin:router, config: {{ routes: [{routes}] }} }}\n\
             clusters:\n  app: {{ endpoints: ['{}'] }}\n",
            upstream.address
        );
        let proxy = Proxy::start(yaml).await;
        let answer = proxy.connect().await.exchange(CONNECT).await;
        assert!(answer.text().contains(details), "{routes}: {}", answer.text());
        let mut client = h2::Client::to(proxy.web()).await;
        let (response, _body) = client.begin(connect(), false).await;
        assert_eq!(h2::whole(response).await.unwrap().status, answer.status(), "{routes}");
        answer.status()
    };
    assert_eq!(answered("{ cluster: app }", "").await, 404);
    assert_eq!(answered("{ match: { path_prefix: / }, cluster: app }", "").await, 404);
    let disabled = "{ match: { connect: true }, cluster: app, upgrades: [{ type: connect, enabled: false }] }";
    assert_eq!(answered(disabled, "upgrade_not_allowed").await, 403);
    let switched_off =
        "{ match: { connect: true }, cluster: app, connect: {}, upgrades: [{ type: connect, enabled: false }] }";
    assert_eq!(answered(switched_off, "upgrade_not_allowed").await, 403);
    // An answer of the proxy's own makes no tunnel.
    let answer = "{ match: { connect: true }, respond: { status: 200, body: hello } }";
    assert_eq!(answered(answer, "").await, 502);
    assert_eq!(answered("{ match: { connect: true }, respond: { status: 405 } }", "").await, 405);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_reset_is_no_end_on_either_side() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = terminating(socket.local_addr().unwrap()).await;
    let both = async || {
        let mut client = TcpStream::connect(proxy.web()).await.unwrap();
        client.write_all(CONNECT.as_bytes()).await.unwrap();
        let (mut server, _) = soon("the tunnel", socket.accept()).await.unwrap();
        server.write_all(b"!").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n!") {
            assert!(soon("the answer", client.read_buf(&mut head)).await.unwrap() > 0);
        }
        (client, server)
    };
    let reset = |stream: TcpStream| stream.set_zero_linger().unwrap();
    let is_reset = async |mut stream: TcpStream| {
        let read = soon("the other side's end", stream.read(&mut [0; 8])).await;
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    };
    let (client, server) = both().await;
    reset(client);
    is_reset(server).await;
    let (client, server) = both().await;
    reset(server);
    is_reset(client).await;
}

#[tokio::test]
async fn a_client_that_gives_up_its_stream_takes_the_tunnel_with_it() {
    // Does not care that its client has ended.
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.send("welcome").await;
        conn.rest().await;
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = terminating(upstream.address).await;
    let mut client = h2::Client::to(proxy.web()).await;
    let (response, mut body) = client.begin(connect(), false).await;
    let mut answer = soon("an answer", response).await.unwrap().into_body();
    heard(&mut answer, b"welcome").await;
    body.send_reset(::h2::Reason::CANCEL);
    drop((body, answer));
    eventually("the connection to the upstream to be closed", async || {
        (proxy.metric("fyke_cluster_connections_active", &[("cluster", "app")]).await == 0.0).then_some(())
    })
    .await;
}

/// A tunnel that stands, and on which nothing moves.
async fn silent(route: &str) -> (Upstream, Proxy, Conn) {
    let upstream = chat().await;
    let yaml = configuration(&format!(", connect: {{}}, {route}"), &endpoints(&[upstream.address]), "");
    let proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    client.send(CONNECT).await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    assert_eq!(client.bytes(7).await, b"welcome");
    (upstream, proxy, client)
}

#[tokio::test]
async fn an_idle_tunnel_ends() {
    let (upstream, _proxy, mut client) = silent("idle_timeout: 200ms").await;
    assert!(client.closed().await);
    eventually("the upstream to hear of it", async || (upstream.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_tunnel_lasts_as_long_as_its_route_allows_whatever_moves() {
    let (_upstream, _proxy, mut client) = silent("max_stream_duration: 400ms").await;
    eventually("the tunnel to end", async || {
        (client.try_send("x").await.is_err() || client.some().await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_routes_timeout_is_not_the_tunnels() {
    let (_upstream, proxy, mut client) = silent("timeout: 100ms").await;
    // Longer than the timeout, by the proxy's own clock.
    let since = std::time::Instant::now();
    eventually("some time to pass", async || {
        let _ = proxy.ask("/metrics").await;
        (since.elapsed() > Duration::from_millis(300)).then_some(())
    })
    .await;
    client.send("ping").await;
    assert_eq!(client.bytes(4).await, b"ping");
}

#[tokio::test]
async fn a_tunnel_outlives_the_beginning_of_a_drain() {
    let (_upstream, mut proxy, mut client) = silent("timeout: 15s").await;
    proxy.signal(rustix::process::Signal::TERM);
    proxy.logged(&["draining"]).await;
    client.send("ping").await;
    assert_eq!(client.bytes(4).await, b"ping");
    assert!(proxy.is_running());
    drop(client);
    assert_eq!(proxy.ended().await, Some(0));
}

#[tokio::test]
async fn tunnels_count_as_connections_of_the_cluster() {
    let upstream = chat().await;
    let cluster = ", connect_timeout: 300ms, circuit_breakers: { connections: 1 }";
    let proxy = Proxy::start(configuration(", connect: {}", &endpoints(&[upstream.address]), cluster)).await;
    let mut first = proxy.connect().await;
    first.send(CONNECT).await;
    assert_eq!(first.head().await.unwrap().status(), 200);
    let answer = proxy.connect().await.exchange(CONNECT).await;
    assert_eq!((answer.status(), answer.text().contains("upstream_pool_exhausted")), (503, true));
    drop(first);
    eventually("the connection to be free", async || {
        let mut next = proxy.connect().await;
        next.send(CONNECT).await;
        (next.head().await.unwrap().status() == 200).then_some(())
    })
    .await;
}
