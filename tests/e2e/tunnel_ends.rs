//! How tunnels end (WebSocket over HTTP/1.1 and HTTP/2, and CONNECT): nothing that was said is lost, what was broken off never looks like an
//! end, and the access log says who broke it.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpListener, TcpStream},
};

use crate::support::{Proxy, eventually, h2, noise, soon};

const CONNECT: &str = "CONNECT db.internal:5432 HTTP/1.1\r\nhost: db.internal:5432\r\n\r\n";
const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// CONNECT ends here, everything else is forwarded; the log says how each stream has ended.
async fn proxy(upstream: SocketAddr, route: &str, cluster: &str) -> Proxy {
    Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [log, router] }}\n\
         filters:\n  log: {{ module: builtin:access-log, config: {{ sink: log, template: 'ended %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%' }} }}\n  \
         router: {{ module: builtin:router, config: {{ routes: [{{ match: {{ connect: true }}, cluster: app, connect: {{}}{route} }}, {{ cluster: app{route} }}] }} }}\n\
         sinks:\n  log: {{ file: access.log }}\nclusters:\n  app: {{ endpoints: ['{upstream}']{cluster} }}\n"
    ))
    .await
}

/// How many streams the log says of that they have ended so.
fn ended(proxy: &Proxy, how: &str) -> usize {
    let log = std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
    log.lines().filter(|line| line.starts_with("ended") && line.contains(how)).count()
}

/// Reads as far as the end of a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("the head", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Both ends of a tunnel over HTTP/1.1: the client's, and that of the endpoint.
async fn tunnel(proxy: &Proxy, socket: &TcpListener, asks: &str) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(proxy.web()).await.unwrap();
    client.write_all(asks.as_bytes()).await.unwrap();
    let (mut server, _) = soon("the tunnel", socket.accept()).await.unwrap();
    if asks == UPGRADE {
        head(&mut server).await;
        server.write_all(SWITCHES.as_bytes()).await.unwrap();
    }
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    (client, server)
}

/// Everything up to the end, or the reset.
async fn rest(stream: &mut TcpStream) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut all = Vec::new();
    soon("the end", stream.read_to_end(&mut all)).await.map_err(|error| error.kind())?;
    Ok(all)
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

const RESET: Result<Vec<u8>, std::io::ErrorKind> = Err(std::io::ErrorKind::ConnectionReset);

async fn connect(client: &mut h2::Client) -> (::h2::RecvStream, ::h2::SendStream<bytes::Bytes>) {
    let request = http::Request::builder().method("CONNECT").uri("db.internal:5432").body(()).unwrap();
    let (response, body) = client.begin(request, false).await;
    (soon("an answer", response).await.unwrap().into_body(), body)
}

async fn websocket(client: &mut h2::Client) -> (::h2::RecvStream, ::h2::SendStream<bytes::Bytes>) {
    eventually("the proxy to say that it can", async || {
        client.send.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    let mut request = h2::request("CONNECT", "/chat");
    request.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
    let (response, body) = client.begin(request, false).await;
    (soon("an answer", response).await.unwrap().into_body(), body)
}

#[tokio::test]
async fn an_answer_is_whole_although_its_sender_listens_no_longer() {
    let mut builder = ::h2::server::Builder::new();
    builder.enable_connect_protocol();
    // Says all it has to say, and with its end that it wants no more (RFC 9113, section 8.1): the body is dropped unread.
    let upstream = h2::Upstream::built(builder, |request, mut respond| async move {
        let mut out = respond.send_response(http::Response::new(()), false).unwrap();
        let mut body = request.into_body();
        assert!(h2::next(&mut body).await.unwrap().is_some());
        h2::push(&mut out, noise(100_000, 1), true).await;
    })
    .await;
    let proxy = proxy(upstream.address, "", ", protocol: http2").await;
    for _ in 0..5 {
        let mut client = TcpStream::connect(proxy.web()).await.unwrap();
        client.write_all(UPGRADE.as_bytes()).await.unwrap();
        assert!(head(&mut client).await.starts_with("HTTP/1.1 101"));
        // More than the endpoint ever has room for.
        let _ = client.try_write(&vec![b'x'; 1_000_000]).unwrap();
        assert!(rest(&mut client).await == Ok(noise(100_000, 1)), "the answer is not whole");
    }
    let mut client = h2::Client::to(proxy.web()).await;
    let (mut answer, mut body) = websocket(&mut client).await;
    body.send_data("x".repeat(60_000).into(), false).unwrap();
    assert!(h2::drain(&mut answer).await.unwrap().0 == noise(100_000, 1));
    assert_eq!(ended(&proxy, "reset"), 0);
}

#[tokio::test]
async fn an_idle_tunnel_whose_client_does_not_read_is_cut() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy(socket.local_addr().unwrap(), ", idle_timeout: 300ms", "").await;
    for asks in [CONNECT, UPGRADE] {
        let (mut client, mut server) = tunnel(&proxy, &socket, asks).await;
        // More than all buffers on the way have room for.
        let flood = tokio::spawn(async move { while server.write_all(&[b'x'; 65536]).await.is_ok() {} });
        soon("the flood to break off", flood).await.unwrap();
        assert_eq!(rest(&mut client).await, RESET, "{asks}");
        let logged = usize::from(asks == UPGRADE) + 1;
        eventually("the log", async || (ended(&proxy, "stream_idle_timeout SI") == logged).then_some(())).await;
    }
    assert_eq!(ended(&proxy, "stream_idle_timeout SI"), 2);
}

#[tokio::test]
async fn a_stream_that_its_client_resets_is_no_end_to_the_upstream() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy(socket.local_addr().unwrap(), "", "").await;
    for round in 0..20 {
        let mut client = h2::Client::to(proxy.web()).await;
        let server = async {
            let (mut server, _) = soon("the tunnel", socket.accept()).await.unwrap();
            if round % 2 == 1 {
                head(&mut server).await;
                server.write_all(SWITCHES.as_bytes()).await.unwrap();
            }
            server
        };
        let ((answer, mut body), mut server) = if round % 2 == 0 {
            tokio::join!(connect(&mut client), server)
        } else {
            tokio::join!(websocket(&mut client), server)
        };
        body.send_data("part".into(), false).unwrap();
        let mut part = [0; 4];
        soon("the part", server.read_exact(&mut part)).await.unwrap();
        body.send_reset(::h2::Reason::CANCEL);
        assert_eq!(rest(&mut server).await, RESET, "round {round}");
        drop((answer, body));
        eventually("the log", async || (ended(&proxy, " downstream_disconnected DC") == round + 1).then_some(())).await;
    }
}

#[tokio::test]
async fn the_log_says_who_has_broken_a_tunnel() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy(socket.local_addr().unwrap(), "", "").await;
    for (asks, status) in [(CONNECT, 200), (UPGRADE, 101)] {
        let (mut client, server) = tunnel(&proxy, &socket, asks).await;
        reset(server);
        assert_eq!(rest(&mut client).await, RESET, "{asks}");
        proxy.written("access.log", &[&format!("ended {status} upstream_reset_after_response UC")]).await;
        let (client, mut server) = tunnel(&proxy, &socket, asks).await;
        reset(client);
        assert_eq!(rest(&mut server).await, RESET, "{asks}");
        proxy.written("access.log", &[&format!("ended {status} downstream_disconnected DC")]).await;
        let (mut client, mut server) = tunnel(&proxy, &socket, asks).await;
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut server).await, Ok(Vec::new()));
        drop(server);
        assert_eq!(rest(&mut client).await, Ok(Vec::new()));
        proxy.written("access.log", &[&format!("ended {status} via_upstream -")]).await;
    }
    let late = self::proxy(socket.local_addr().unwrap(), ", max_stream_duration: 300ms", "").await;
    let idle = self::proxy(socket.local_addr().unwrap(), ", idle_timeout: 300ms", "").await;
    for (proxy, told, cut) in [(&late, "upstream_timeout UT", true), (&idle, "stream_idle_timeout SI", false)] {
        let (mut client, _server) = tunnel(proxy, &socket, UPGRADE).await;
        assert_eq!(rest(&mut client).await.is_err(), cut, "{told}");
        proxy.written("access.log", &["ended 101", told]).await;
    }
}

#[tokio::test]
async fn a_client_that_is_gone_behind_its_end_takes_the_tunnel_with_it() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy(socket.local_addr().unwrap(), "", "").await;
    for asks in [CONNECT, UPGRADE] {
        let (mut client, mut server) = tunnel(&proxy, &socket, asks).await;
        client.write_all(b"that is all").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut server).await.unwrap(), b"that is all");
        reset(client);
        // Neither side says anything any more, and the idle timeout is far away.
        soon("the reset", server.ready(Interest::ERROR)).await.unwrap();
    }
    let active = async || proxy.metric("fyke_cluster_connections_active", &[("cluster", "app")]).await;
    eventually("both to be gone", async || (active().await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn what_follows_a_head_is_counted_once() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy(socket.local_addr().unwrap(), "", "").await;
    let mut all = 0;
    for asks in [CONNECT, UPGRADE] {
        let mut client = TcpStream::connect(proxy.web()).await.unwrap();
        client.write_all(format!("{asks}early").as_bytes()).await.unwrap();
        let (mut server, _) = soon("the tunnel", socket.accept()).await.unwrap();
        if asks == UPGRADE {
            head(&mut server).await;
            server.write_all(SWITCHES.as_bytes()).await.unwrap();
        }
        head(&mut client).await;
        client.write_all(b" and late").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut server).await.unwrap(), b"early and late");
        drop(server);
        assert_eq!(rest(&mut client).await, Ok(Vec::new()));
        all += asks.len() + 14;
    }
    eventually("both to have ended", async || (ended(&proxy, "") == 2).then_some(())).await;
    assert_eq!(proxy.metric("fyke_listener_received_bytes_total", &[("listener", "web")]).await, all as f64);
}
