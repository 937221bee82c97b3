//! Clients that take nothing, and ends that come apart from the last byte: what they hold is given back in time, and nobody beside them waits.

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpStream;

use crate::support::{Conn, Proxy, Reply, Upstream, eventually, h2, noise, soon};

const MIB: usize = 1024 * 1024;

/// Everything to one cluster, by a route with this timeout, with little time for heads, so that connections are looked at often.
fn hurried(upstream: std::net::SocketAddr, protocol: &str, timeout: &str, pool: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [router], limits: {{ header_timeout: 500ms }} }}\n\
         filters:\n  router: {{ module: builtin:router, config: {{ routes: [{{ cluster: app, timeout: {timeout} }}] }} }}\n\
         clusters:\n  app: {{ protocol: {protocol}, endpoints: ['{upstream}'], pool: {{ {pool} }} }}\n"
    )
}

/// A client of HTTP/2 that gives the server's streams no room.
async fn taking_nothing(proxy: &Proxy) -> h2::Client {
    let io = TcpStream::connect(proxy.web()).await.unwrap();
    let mut builder = ::h2::client::Builder::new();
    let (send, connection) = builder.initial_window_size(0).handshake(io).await.unwrap();
    h2::Client { send, connection: tokio::spawn(connection) }
}

async fn large_or_small() -> Upstream {
    Upstream::http(|request| {
        Reply::ok(if request.path() == "/large" { vec![b'x'; 16 * MIB] } else { b"small".to_vec() })
    })
    .await
}

#[tokio::test]
async fn a_client_of_http2_that_takes_nothing_gives_its_connection_back() {
    let upstream = large_or_small().await;
    let proxy = Proxy::start(hurried(upstream.address, "http1", "2s", "connections: 1")).await;
    let mut client = taking_nothing(&proxy).await;
    let (response, _body) = client.begin(h2::request("GET", "/large"), true).await;
    let answer = soon("the answer's head", response).await.unwrap();
    assert_eq!(answer.status(), 200);
    // There is one connection for all, and somebody else wants it.
    let small = eventually("the connection of the one who takes nothing", async || {
        let answer = proxy.get("/small").await;
        (answer.status() == 200).then_some(answer)
    })
    .await;
    assert_eq!(small.text(), "small");
    assert_eq!(upstream.connections(), 2, "the first was in the middle of an answer");
    // Its other streams live.
    let (head, _) = client.begin(h2::request("HEAD", "/small"), true).await;
    assert_eq!(soon("another stream", head).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_of_http1_that_takes_nothing_is_cut_off() {
    let upstream = large_or_small().await;
    let proxy = Proxy::start(hurried(upstream.address, "http1", "2s", "connections: 1")).await;
    let mut client = proxy.connect().await;
    client.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.metric_reaches("fyke_listener_requests_total", &[("listener", "web"), ("class", "reset")], 1.0).await;
    assert_eq!(proxy.get("/small").await.status(), 200);
    assert!(client.rest().await.len() < 16 * MIB, "not an answer that looks whole");
}

#[tokio::test]
async fn streams_that_are_stuck_do_not_stop_others_on_the_connection_to_their_upstream() {
    let upstream = h2::Upstream::scripted(|request, mut respond| async move {
        let mut out = respond.send_response(Response::new(()), false).unwrap();
        let size = if request.uri().path() == "/large" { 4 * MIB } else { 5 };
        h2::push(&mut out, vec![b'x'; size], true).await;
    })
    .await;
    let proxy = Proxy::start(hurried(upstream.address, "http2", "0s", "")).await;
    let mut client = taking_nothing(&proxy).await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let (response, _) = client.begin(h2::request("GET", "/large"), true).await;
        stuck.push(soon("a head", response).await.unwrap());
    }
    assert_eq!(proxy.get("/small").await.text(), "xxxxx");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn uploads_that_are_stuck_do_not_stop_others_on_the_connection_of_their_client() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        let head = conn.head().await.unwrap();
        recorder.saw(&head);
        if head.path() == "/stuck" {
            // Never read, never answered.
            std::future::pending::<()>().await;
        }
        let body = conn.body(head).await.unwrap();
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nx-length: {}\r\n\r\n.", body.body.len())).await;
    })
    .await;
    let proxy = Proxy::start(hurried(upstream.address, "http1", "0s", "")).await;
    let mut client = h2::Client::to(proxy.web()).await;
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let (response, mut body) = client.begin(h2::request("POST", "/stuck"), false).await;
        // As much as there is room for, whoever makes it.
        let task = tokio::spawn(async move {
            h2::push(&mut body, vec![b'x'; 16 * MIB], true).await;
        });
        stuck.push((response, task));
    }
    upstream.received(8).await;
    let (response, mut body) = client.begin(h2::request("POST", "/"), false).await;
    h2::push(&mut body, vec![b'x'; 100_000], true).await;
    let answer = h2::whole(response).await.unwrap();
    assert_eq!((answer.status, answer.headers.get("x-length").unwrap().to_str().unwrap()), (200, "100000"));
    stuck.iter().for_each(|(_, task)| task.abort());
}

#[tokio::test]
async fn a_part_of_a_head_that_came_with_the_last_request_has_its_time() {
    let upstream = Upstream::says("here").await;
    let proxy = Proxy::start(hurried(upstream.address, "http1", "15s", "")).await;
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /").await;
    assert_eq!(client.response("GET").await.text(), "here");
    assert_eq!(client.response("GET").await.status(), 408);
    assert!(client.closed().await);
}

#[tokio::test]
async fn an_answer_with_trailers_is_whole_and_its_connection_is_used_again() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(request) = conn.request().await {
            recorder.saw(&request);
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n").await;
        }
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        assert_eq!(
            client.exchange("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n").await.trailer("x-sum"),
            Some("1")
        );
    }
    let mut client = h2::Client::to(proxy.web()).await;
    let mut request = h2::request("GET", "/");
    request.headers_mut().insert("te", http::HeaderValue::from_static("trailers"));
    let (response, _) = client.begin(request, true).await;
    assert_eq!(h2::whole(response).await.unwrap().trailers.unwrap().get("x-sum").unwrap(), "1");
    proxy.metric_reaches("fyke_listener_requests_total", &[("listener", "web"), ("class", "2xx")], 4.0).await;
    assert_eq!(proxy.metric("fyke_listener_requests_total", &[("listener", "web"), ("class", "reset")]).await, 0.0);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_answer_whose_end_is_a_frame_of_its_own_is_whole() {
    let upstream = h2::Upstream::scripted(|_, mut respond| async move {
        let head = Response::builder().header("content-length", "4").body(()).unwrap();
        let mut out = respond.send_response(head, false).unwrap();
        h2::push(&mut out, "here", false).await;
        // The end comes when the bytes have gone through.
        tokio::task::yield_now().await;
        let _ = out.send_data(Bytes::new(), true);
    })
    .await;
    let proxy = Proxy::start(hurried(upstream.address, "http2", "15s", "")).await;
    let mut client = proxy.connect().await;
    for _ in 0..20 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "here");
    }
    proxy.metric_reaches("fyke_listener_requests_total", &[("listener", "web"), ("class", "2xx")], 20.0).await;
}

/// An upload whose length is known, and whose end is a frame of its own.
async fn upload(client: &mut h2::Client, path: &str) -> h2::Answer {
    let request = Request::post(format!("http://test.example{path}")).header("content-length", "4").body(()).unwrap();
    let (response, mut body) = client.begin(request, false).await;
    h2::push(&mut body, "here", false).await;
    body.send_data(Bytes::new(), true).unwrap();
    h2::whole(response).await.unwrap()
}

#[tokio::test]
async fn the_timeout_begins_with_the_last_byte_that_a_request_promised() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        recorder.saw(&conn.request().await.unwrap());
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = Proxy::start(hurried(upstream.address, "http1", "300ms", "")).await;
    let answer = upload(&mut h2::Client::to(proxy.web()).await, "/").await;
    assert_eq!(answer.status, 504);
    let trailed = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n4\r\nhere\r\n0\r\nx-sum: 1\r\n\r\n";
    assert_eq!(proxy.connect().await.exchange(trailed).await.status(), 504);
}

#[tokio::test]
async fn an_answer_that_began_before_its_request_was_through_has_a_timeout_too() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        recorder.saw(&conn.head().await.unwrap());
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun").await;
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = Proxy::start(hurried(upstream.address, "http1", "300ms", "")).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(head.status(), 200);
    client.send("here").await;
    assert_eq!(client.rest().await, b"begun", "and then it is cut off");
}

/// Sends a large body, whatever is answered meanwhile, and then reads.
async fn answered_meanwhile(mut client: Conn, head: &str) -> String {
    let body = noise(256 * 1024, 1);
    client.send(head).await;
    for _ in 0..64 {
        if client.try_send(&body).await.is_err() {
            break;
        }
    }
    String::from_utf8(client.rest().await).unwrap()
}

#[tokio::test]
async fn an_answer_to_a_request_that_is_still_being_sent_can_be_read() {
    let proxy = Proxy::start(
        "listeners:\n  web: { address: '127.0.0.1:0', filters: [router] }\n\
         filters:\n  router: { module: builtin:router, config: { routes: [{ respond: { status: 403, body: 'not here' } }] } }\n",
    )
    .await;
    for head in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 16777216\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 16777216\r\nconnection: close\r\n\r\n",
    ] {
        let said = answered_meanwhile(proxy.connect().await, head).await;
        assert!(said.starts_with("HTTP/1.1 403 ") && said.ends_with("not here"), "{said:?}");
    }
    for (head, status) in
        [("POST / HTTP/1.1\r\nno host\r\n\r\n", 400), ("POST / HTTP/1.1\r\ncontent-length: 16777216\r\n\r\n", 400)]
    {
        let said = answered_meanwhile(proxy.connect().await, head).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said:?}");
    }
}
