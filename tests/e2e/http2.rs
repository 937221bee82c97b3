//! HTTP/2 end to end.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request, Response};

use crate::support::{
    Launch, Proxy, Reply, Upstream, eventually,
    h2::{self as two, Client, drain, next, push, request, whole},
    noise, soon,
    tls::{self, Authority},
};

async fn to_http2(upstream: &two::Upstream) -> Proxy {
    let address = upstream.address;
    Proxy::start(format!("listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\nclusters:\n  app: {{ protocol: http2, endpoints: ['{address}'] }}\n")).await
}

#[tokio::test]
async fn prior_knowledge_works_on_a_plain_listener_beside_http11() {
    let upstream = Upstream::http(|request| {
        Reply::ok(format!("{} {}", request.path(), request.header("host").unwrap())).header("connection", "keep-alive")
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = Client::to(proxy.web()).await;
    for _ in 0..3 {
        let answer = client.get("/x?y=1").await;
        assert_eq!((answer.status, answer.body), (200, b"/x?y=1 test.example".to_vec()));
        assert!(!answer.headers.contains_key("connection"));
    }
    assert_eq!(proxy.get("/x").await.status(), 200);
}

#[tokio::test]
async fn alpn_chooses_the_version() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example"]);
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, tls: {{ certificates: [{{ certificate: a.pem, key: a.key }}] }} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let proxy = Launch::new(yaml).file("a.pem", &certificate.pem).file("a.key", &certificate.key).start().await;
    let stream = tls::connect(proxy.web(), authority.client(None, &["h2", "http/1.1"]), "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let mut client = Client::over(stream).await;
    let (response, _) = client.begin(Request::get("https://a.example/").body(()).unwrap(), true).await;
    assert_eq!(whole(response).await.unwrap().body, b"x");
    let stream = tls::connect(proxy.web(), authority.client(None, &["http/1.1"]), "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
}

#[tokio::test]
async fn grpc_passes_with_trailers_in_both_directions() {
    let upstream = two::Upstream::echo().await;
    let proxy = to_http2(&upstream).await;
    let mut client = Client::to(proxy.web()).await;
    let mut call = request("POST", "/pkg.Service/Method");
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    call.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let (response, mut body) = client.begin(call, false).await;
    push(&mut body, &b"\0\0\0\0\x05hello"[..], false).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-client-trailer", HeaderValue::from_static("yes"));
    body.send_trailers(trailers).unwrap();
    let answer = whole(response).await.unwrap();
    assert_eq!((answer.status, answer.body), (200, b"\0\0\0\0\x05hello".to_vec()));
    let trailers = answer.trailers.unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-client-trailer"]),
        (&HeaderValue::from_static("0"), &HeaderValue::from_static("yes"))
    );
    assert_eq!(answer.headers["x-path"], "/pkg.Service/Method");
}

#[tokio::test]
async fn a_grpc_caller_gets_our_errors_in_its_own_form() {
    let proxy = Proxy::start("listeners:\n  web: { address: '127.0.0.1:0', cluster: app }\nclusters:\n  app: { protocol: http2, endpoints: [] }\n").await;
    let mut client = Client::to(proxy.web()).await;
    let mut call = request("POST", "/pkg.Service/Method");
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let (response, _) = client.begin(call, true).await;
    let answer = whole(response).await.unwrap();
    assert_eq!((answer.status, &answer.headers["grpc-status"]), (200, &HeaderValue::from_static("14")));
    assert!(answer.headers["grpc-message"].to_str().unwrap().contains("no_endpoint"));
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn both_directions_flow_at_the_same_time() {
    let upstream = two::Upstream::echo().await;
    let proxy = to_http2(&upstream).await;
    let mut client = Client::to(proxy.web()).await;
    let (response, mut out) = client.begin(request("POST", "/chat"), false).await;
    let mut body = soon("an answer before the request has ended", response).await.unwrap().into_body();
    for size in [1, 1000, 100_000] {
        let sent = noise(size, 7);
        push(&mut out, sent.clone(), false).await;
        let mut received = Vec::new();
        while received.len() < size {
            received.extend_from_slice(&next(&mut body).await.unwrap().unwrap());
        }
        assert!(received == sent, "{size} bytes came back changed");
    }
    out.send_data(Bytes::new(), true).unwrap();
    assert_eq!(next(&mut body).await.unwrap(), None);
}

#[tokio::test]
async fn streams_share_one_upstream_connection() {
    let upstream = two::Upstream::echo().await;
    let proxy = to_http2(&upstream).await;
    let mut client = Client::to(proxy.web()).await;
    let mut waiting = Vec::new();
    for number in 0..50 {
        let (response, body) = client.begin(request("POST", &format!("/{number}")), false).await;
        waiting.push((number, response, body));
    }
    // All fifty are open at the same time before the first one ends.
    for (number, response, mut body) in waiting {
        push(&mut body, format!("{number}"), true).await;
        let answer = whole(response).await.unwrap();
        assert_eq!(
            (answer.headers["x-path"].to_str().unwrap(), answer.body),
            (format!("/{number}").as_str(), number.to_string().into_bytes())
        );
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_client_that_resets_resets_the_upstream() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let upstream = two::Upstream::scripted(move |_request, mut respond| {
        let told = told.clone();
        async move {
            told.send(None).unwrap();
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            told.send(reason.ok()).unwrap();
        }
    })
    .await;
    let proxy = to_http2(&upstream).await;
    let mut client = Client::to(proxy.web()).await;
    let (response, mut body) = client.begin(request("POST", "/"), false).await;
    assert_eq!(soon("the stream at the upstream", heard.recv()).await, Some(None));
    body.send_reset(Reason::CANCEL);
    drop(response);
    let reason = soon("the reset at the upstream", heard.recv()).await.unwrap();
    assert!(reason.is_some(), "the stream ended otherwise");
    proxy.metric_reaches("fyke_listener_requests_total", &[("class", "reset")], 1.0).await;
    // The connection towards the upstream goes on.
    let (second, _) = client.begin(request("GET", "/"), true).await;
    assert_eq!(soon("another stream", heard.recv()).await, Some(None));
    assert_eq!(upstream.connections(), 1);
    drop(second);
}

#[tokio::test]
async fn an_upstream_that_resets_is_503_before_the_head_and_a_reset_after_it() {
    let arrived = Arc::new(tokio::sync::Notify::new());
    let go = Arc::clone(&arrived);
    let upstream = two::Upstream::scripted(move |request, mut respond| {
        let go = Arc::clone(&go);
        async move {
            if request.uri().path() == "/early" {
                respond.send_reset(Reason::INTERNAL_ERROR);
                return;
            }
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            push(&mut body, "half", false).await;
            go.notified().await;
            body.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let proxy = to_http2(&upstream).await;
    let mut client = Client::to(proxy.web()).await;
    let answer = client.get("/early").await;
    assert_eq!(
        (answer.status, String::from_utf8_lossy(&answer.body).contains("upstream_reset")),
        (503, true),
        "{answer:?}"
    );
    let (response, _) = client.begin(request("GET", "/late"), true).await;
    let mut body = soon("the head", response).await.unwrap().into_body();
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "half");
    arrived.notify_one();
    let error = drain(&mut body).await.expect_err("a broken answer must not look whole");
    assert!(error.is_reset(), "{error:?}");
    assert_eq!(client.get("/early").await.status, 503, "the connection goes on");
}

#[tokio::test]
async fn versions_can_differ_on_both_sides() {
    let upstream = two::Upstream::echo().await;
    let proxy = to_http2(&upstream).await;
    let mut client = proxy.connect().await;
    let answer = client.exchange("POST /one HTTP/1.1\r\nhost: a\r\nte: trailers\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!((answer.status(), answer.text().as_str(), answer.header("x-path")), (200, "abc", Some("/one")));
    let upstream = Upstream::echo().await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = Client::to(proxy.web()).await;
    let (response, mut body) = client.begin(request("POST", "/two"), false).await;
    push(&mut body, "abc", true).await;
    assert_eq!(whole(response).await.unwrap().body, b"abc");
    assert_eq!((upstream.last().path(), upstream.last().header("host")), ("/two", Some("test.example")));
}

#[tokio::test]
async fn a_flood_of_resets_closes_the_connection_and_nothing_else() {
    let upstream = two::Upstream::echo().await;
    let proxy = to_http2(&upstream).await;
    let mut neighbour = Client::to(proxy.web()).await;
    assert_eq!(neighbour.get("/before").await.status, 200);
    let mut attacker = Client::to(proxy.web()).await;
    let mut opened = 0;
    while opened < 20_000 {
        let Ok(mut ready) = soon("room for a stream", attacker.send.clone().ready()).await else { break };
        let Ok((response, mut body)) = ready.send_request(request("POST", "/flood"), false) else { break };
        body.send_reset(Reason::CANCEL);
        drop(response);
        opened += 1;
        tokio::task::yield_now().await;
    }
    assert!(opened < 20_000, "nothing stopped the flood");
    soon("the end of the attacker's connection", &mut attacker.connection)
        .await
        .unwrap()
        .expect_err("the connection should be closed as broken");
    assert_eq!(neighbour.get("/after").await.status, 200);
    eventually("no stream left", async || {
        (proxy.metric("fyke_listener_requests_active", &[]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reset_after_the_request_was_accepted_counts_as_well() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let upstream = two::Upstream::scripted(move |_request, respond| {
        let told = told.clone();
        async move {
            told.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(respond);
        }
    })
    .await;
    let proxy = to_http2(&upstream).await;
    let attacker = Client::to(proxy.web()).await;
    let mut opened = 0;
    // Each stream has reached the upstream before it is given up: what a library's own counter does not see.
    while opened < 5000 {
        let Ok(mut ready) = soon("room for a stream", attacker.send.clone().ready()).await else { break };
        let Ok((response, mut body)) = ready.send_request(request("POST", "/flood"), false) else { break };
        if tokio::time::timeout(crate::support::DEADLINE, heard.recv()).await.is_err()
            || attacker.connection.is_finished()
        {
            break;
        }
        body.send_reset(Reason::CANCEL);
        drop(response);
        opened += 1;
    }
    assert!(opened < 5000, "nothing stopped the flood");
    proxy.metric_reaches("fyke_listener_protocol_errors_total", &[("reason", "resets")], 1.0).await;
}
