//! WebSocket to endpoints that speak HTTP/2: extended CONNECT (RFC 8441) behind the proxy.

use std::sync::{Arc, Mutex};

use http::request::Parts;

use crate::{
    support::{Launch, Proxy, eventually, h2, tls::Authority},
    upgrade::converse,
};

const UPGRADE: &str = "GET /chat?x=1 HTTP/1.1\r\nhost: test.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\n\r\n";

type Seen = Arc<Mutex<Vec<Parts>>>;

fn allowing() -> ::h2::server::Builder {
    let mut builder = ::h2::server::Builder::new();
    builder.enable_connect_protocol();
    builder
}

/// Greets, says again what it hears, and takes its leave.
async fn chat(
    seen: Seen,
    request: http::Request<::h2::RecvStream>,
    mut respond: ::h2::server::SendResponse<bytes::Bytes>,
) {
    let (parts, mut body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    seen.lock().unwrap().push(parts);
    if path == "/closed" {
        let response = http::Response::builder().status(403).body(()).unwrap();
        let mut out = respond.send_response(response, false).unwrap();
        h2::push(&mut out, "closed", true).await;
        return;
    }
    let response = http::Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
    let mut out = respond.send_response(response, false).unwrap();
    h2::push(&mut out, "welcome", false).await;
    while let Ok(Some(data)) = h2::next(&mut body).await {
        h2::push(&mut out, data, false).await;
    }
    h2::push(&mut out, "bye", true).await;
}

async fn upstream(builder: ::h2::server::Builder) -> (h2::Upstream, Seen) {
    let seen = Seen::default();
    let theirs = Arc::clone(&seen);
    let upstream =
        h2::Upstream::built(builder, move |request, respond| chat(Arc::clone(&theirs), request, respond)).await;
    (upstream, seen)
}

async fn proxy(upstream: &h2::Upstream) -> Proxy {
    Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\n\
         clusters:\n  app: {{ endpoints: ['{}'], protocol: http2 }}\n",
        upstream.address
    ))
    .await
}

fn asked(seen: &Seen) -> (String, String, Option<String>, Vec<bool>) {
    let seen = seen.lock().unwrap();
    let last = seen.last().unwrap();
    let protocol = last.extensions.get::<::h2::ext::Protocol>().map(|protocol| protocol.as_str().to_owned());
    let fields = ["connection", "upgrade", "sec-websocket-key"].map(|name| last.headers.contains_key(name));
    (last.method.to_string(), last.uri.to_string(), protocol, fields.to_vec())
}

fn extended() -> (String, String, Option<String>, Vec<bool>) {
    let uri = "http://test.example/chat?x=1".to_owned();
    ("CONNECT".to_owned(), uri, Some("websocket".to_owned()), vec![false; 3])
}

#[tokio::test]
async fn a_websocket_of_http1_is_an_extended_connect() {
    let (upstream, seen) = upstream(allowing()).await;
    let proxy = proxy(&upstream).await;
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client.send(format!("{UPGRADE}early")).await;
        let answer = client.head().await.unwrap();
        assert_eq!((answer.status(), answer.header("upgrade")), (101, Some("websocket")));
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "of RFC 6455");
        assert_eq!((answer.header("sec-websocket-protocol"), answer.header("content-length")), (Some("chat"), None));
        assert_eq!(client.bytes(12).await, b"welcomeearly");
        assert_eq!(asked(&seen), extended());
        for size in [1, 100, 300_000] {
            let bytes = crate::support::noise(size, size as u64);
            let (mut sent, mut heard) = (0, Vec::new());
            while heard.len() < size {
                let end = (sent + 50_000).min(size);
                client.send(&bytes[sent..end]).await;
                heard.extend(client.bytes(end - sent).await);
                sent = end;
            }
            assert!(heard == bytes, "{size} bytes came back changed");
        }
        client.finish().await;
        assert_eq!(client.rest().await, b"bye");
    }
    assert_eq!(upstream.connections(), 1);
}

async fn over_http2(proxy: &Proxy, path: &str) -> (http::Response<::h2::RecvStream>, ::h2::SendStream<bytes::Bytes>) {
    let mut client = h2::Client::to(proxy.web()).await;
    eventually("the proxy to say that it can", async || {
        client.send.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    let mut request = h2::request("CONNECT", path);
    request.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
    let (response, body) = client.begin(request, false).await;
    (crate::support::soon("an answer", response).await.unwrap(), body)
}

#[tokio::test]
async fn a_websocket_of_http2_is_one_too() {
    let (upstream, seen) = upstream(allowing()).await;
    let proxy = proxy(&upstream).await;
    let (response, mut body) = over_http2(&proxy, "/chat?x=1").await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    let mut answer = converse(response, &mut body).await;
    assert_eq!(h2::drain(&mut answer).await.unwrap().0, b"");
    assert_eq!(asked(&seen), extended());
}

#[tokio::test]
async fn a_refused_websocket_is_an_ordinary_answer() {
    let (upstream, _seen) = upstream(allowing()).await;
    let proxy = proxy(&upstream).await;
    let answer = proxy.connect().await.exchange(&UPGRADE.replace("/chat?x=1", "/closed")).await;
    assert_eq!((answer.status(), answer.text()), (403, "closed".to_owned()));
    let (response, _body) = over_http2(&proxy, "/closed").await;
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn an_endpoint_that_does_not_allow_it_is_not_asked() {
    let (upstream, seen) = upstream(::h2::server::Builder::new()).await;
    let proxy = proxy(&upstream).await;
    let answer = proxy.connect().await.exchange(UPGRADE).await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("upstream_no_extended_connect"), "{}", answer.text());
    let (response, _body) = over_http2(&proxy, "/chat").await;
    assert_eq!(response.status(), 502);
    assert_eq!(seen.lock().unwrap().len(), 0);
    // Nothing is wrong with the connection, nor with what asks for no other protocol.
    assert_eq!(proxy.get("/closed").await.status(), 403);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_not_waited_for_for_ever() {
    let upstream = crate::support::Upstream::scripted(|mut conn, _, _| async move {
        conn.rest().await;
    })
    .await;
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\n\
         clusters:\n  app: {{ endpoints: ['{}'], protocol: http2, connect_timeout: 300ms }}\n",
        upstream.address
    ))
    .await;
    let answer = proxy.connect().await.exchange(UPGRADE).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("upstream_connect_timeout"), "{}", answer.text());
    proxy.metric_reaches("fyke_cluster_connect_timeouts_total", &[("cluster", "app")], 1.0).await;
}

/// Nothing is known of an endpoint whose connection ends before it has said anything: it broke, and another attempt may be made.
#[tokio::test]
async fn an_endpoint_that_breaks_off_before_it_says_anything_has_broken_off() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let seen = Seen::default();
    let theirs = Arc::clone(&seen);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = socket.accept().await.unwrap();
            if number < 2 {
                // It has listened, and says nothing.
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut [0; 24]).await.unwrap();
                continue;
            }
            let seen = Arc::clone(&theirs);
            let script = Arc::new(move |request, respond| chat(Arc::clone(&seen), request, respond));
            tokio::spawn(h2::serve_with(allowing(), stream, script));
        }
    });
    let router = "{ module: 'builtin:router', config: { routes: [{ match: { path: /chat }, cluster: app, retry: { on: [reset], attempts: 1 } }, { cluster: app }] } }";
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router] }}\nfilters:\n  router: {router}\n\
         clusters:\n  app: {{ endpoints: ['{address}'], protocol: http2 }}\n"
    ))
    .await;
    let answer = proxy.connect().await.exchange(&UPGRADE.replace("/chat?x=1", "/once")).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("upstream_reset"), "{}", answer.text());
    let mut client = proxy.connect().await;
    client.send(UPGRADE).await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    assert_eq!(client.bytes(7).await, b"welcome");
    assert_eq!(asked(&seen), extended());
}

#[tokio::test]
async fn an_upgrade_that_http2_has_no_words_for_is_left_out() {
    let (upstream, seen) = upstream(allowing()).await;
    let proxy = proxy(&upstream).await;
    let post = "POST /closed HTTP/1.1\r\nhost: test.example\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(proxy.connect().await.exchange(post).await.status(), 403);
    assert_eq!(asked(&seen).0, "POST");
    let choice = UPGRADE.replace("/chat?x=1", "/closed").replace("upgrade: websocket", "upgrade: a, b/1");
    assert_eq!(proxy.connect().await.exchange(&choice).await.status(), 403);
    assert_eq!((asked(&seen).0, asked(&seen).3[1]), ("GET".to_owned(), false));
}

/// `protocol: auto`: what was agreed on by ALPN decides.
#[tokio::test]
async fn with_alpn_the_endpoint_decides_how_it_is_asked() {
    let authority = Authority::new();
    let certificate = authority.issue(&["test.example"]);
    for (alpn, builder, status) in
        [("h2", allowing(), 101), ("h2", ::h2::server::Builder::new(), 502), ("http/1.1", allowing(), 101)]
    {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.server(&certificate, false, &[alpn])));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let seen = Seen::default();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                if alpn == "h2" {
                    let seen = Arc::clone(&seen);
                    let script = Arc::new(move |request, respond| chat(Arc::clone(&seen), request, respond));
                    h2::serve_with(builder.clone(), stream, script).await;
                } else {
                    let mut conn = crate::support::Conn::patient(stream);
                    let head = conn.head().await.unwrap();
                    assert_eq!((head.method(), head.header("upgrade")), ("GET", Some("websocket")));
                    conn.send(
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nwelcome",
                    )
                    .await;
                    conn.echo().await;
                }
            }
        });
        let yaml = format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\n\
             clusters:\n  app: {{ endpoints: ['{address}'], protocol: auto, tls: {{ ca: ca.pem }} }}\n"
        );
        let proxy = Launch::new(yaml).file("ca.pem", authority.pem()).start().await;
        let mut client = proxy.connect().await;
        client.send(UPGRADE).await;
        assert_eq!(client.head().await.unwrap().status(), status, "{alpn}");
        if status == 101 {
            assert_eq!(client.bytes(7).await, b"welcome");
            client.send("ping").await;
            assert_eq!(client.bytes(4).await, b"ping");
        }
        server.abort();
    }
}
