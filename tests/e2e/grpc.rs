//! gRPC callouts: calls and streams that filters begin.

use std::net::SocketAddr;

use http::{HeaderValue, Response};
use tokio::sync::mpsc;

use crate::{
    guests,
    support::{
        Proxy, Upstream, eventually,
        h2::{self, next},
        soon,
    },
};

/// A filter with this configuration before an ordinary upstream, and the service that it may call.
async fn filter(word: &str, service: SocketAddr, protocol: &str) -> (Proxy, Upstream) {
    let upstream = Upstream::says("through").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\n\
         filters:\n  f: {{ module: {:?}, config: {word:?}, allow: {{ clusters: [echo] }} }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n  echo: {{ protocol: {protocol}, endpoints: ['{service}'] }}\n",
        guests::GRPC,
        upstream.address
    );
    (Proxy::start(yaml).await, upstream)
}

#[tokio::test]
async fn a_call_sends_its_message_and_gets_one() {
    let service = h2::Upstream::echo().await;
    let (proxy, _upstream) = filter("call echo", service.address, "http2").await;
    for path in ["/hello", "/again"] {
        assert_eq!(proxy.get(path).await.text(), format!("0 0 [{path}] "));
    }
    assert_eq!(proxy.metric("fyke_filter_callouts_total", &[("filter", "f")]).await, 2.0);
    assert_eq!(proxy.metric("fyke_filter_callouts_failed_total", &[("filter", "f")]).await, 0.0);
    assert_eq!(service.connections(), 1, "calls share a connection");
}

#[tokio::test]
async fn a_call_is_grpc_on_the_wire() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let service = h2::Upstream::scripted(move |request, mut respond| {
        let sender = sender.clone();
        async move {
            let (parts, mut body) = request.into_parts();
            let (bytes, _) = h2::drain(&mut body).await.unwrap();
            sender.send((parts, bytes)).unwrap();
            let head =
                Response::builder().header("grpc-status", "7").header("grpc-message", "no%20entry").body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
    })
    .await;
    let (proxy, _upstream) = filter("call echo", service.address, "http2").await;
    assert_eq!(proxy.get("/x").await.text(), "7 7 [] no entry");
    let (parts, bytes) = soon("the call", seen.recv()).await.unwrap();
    assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/test.Echo/Say"));
    for (name, value) in
        [("content-type", "application/grpc"), ("te", "trailers"), ("x-meta", "yes"), ("grpc-timeout", "500m")]
    {
        assert_eq!(parts.headers[name], value);
    }
    assert_eq!(bytes, b"\0\0\0\0\x02/x");
    proxy.metric_reaches("fyke_filter_callouts_failed_total", &[("filter", "f")], 1.0).await;
}

#[tokio::test]
async fn a_call_without_an_answer_ends_with_its_deadline() {
    let service = h2::Upstream::scripted(|_request, respond| async move {
        let _kept = respond;
        std::future::pending::<()>().await;
    })
    .await;
    let (proxy, _upstream) = filter("call echo", service.address, "http2").await;
    assert!(proxy.get("/x").await.text().starts_with("4 4 [] no answer within"));
}

#[tokio::test]
async fn what_cannot_be_called_says_why() {
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (proxy, _upstream) = filter("call echo", dead, "http2").await;
    assert!(proxy.get("/x").await.text().starts_with("14 14 [] cannot connect"));
    let (proxy, _upstream) = filter("call echo", dead, "http1").await;
    assert!(proxy.get("/x").await.text().contains("does not speak HTTP/2"));
    for cluster in ["app", "nowhere"] {
        let (proxy, _upstream) = filter(&format!("call {cluster}"), dead, "http2").await;
        assert_eq!(proxy.get("/x").await.text(), "refused: ParseFailure", "{cluster} is not granted");
    }
}

#[tokio::test]
async fn a_stream_brings_its_events_in_order() {
    let service = h2::Upstream::echo().await;
    let (proxy, _upstream) = filter("stream echo", service.address, "http2").await;
    assert_eq!(proxy.get("/").await.text(), "initial /test.Echo/Talk, message one, message two, trailing 0, close 0");
}

#[tokio::test]
async fn both_sides_of_a_stream_talk_at_once() {
    let service = h2::Upstream::echo().await;
    let (proxy, _upstream) = filter("talk echo", service.address, "http2").await;
    let told = "initial /test.Echo/Talk, message x, message xx, message xxx, trailing 0, close 0";
    assert_eq!(proxy.get("/").await.text(), told);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_closed_with_a_status() {
    let service = h2::Upstream::scripted(|request, mut respond| async move {
        let mut body = request.into_body();
        let _ = next(&mut body).await;
        let mut out = respond.send_response(Response::new(()), false).unwrap();
        h2::push(&mut out, &b"\0\0\0\0\x03abc\0\0"[..], false).await;
        out.send_reset(::h2::Reason::INTERNAL_ERROR);
    })
    .await;
    let (proxy, _upstream) = filter("stream echo", service.address, "http2").await;
    let told = proxy.get("/").await.text();
    assert!(told.ends_with("close 14"), "{told}");
}

#[tokio::test]
async fn a_stream_that_is_cancelled_is_reset_and_tells_nothing() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let service = h2::Upstream::scripted(move |request, mut respond| {
        let sender = sender.clone();
        async move {
            let mut head = Response::new(());
            head.headers_mut().insert("x-path", HeaderValue::from_static("/"));
            let _out = respond.send_response(head, false);
            let ended = next(&mut request.into_body()).await;
            let _ = sender.send(ended.is_err());
        }
    })
    .await;
    let (proxy, _upstream) = filter("cancel echo", service.address, "http2").await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.text(), "through");
    }
    // A stream that was cancelled before it began may never have been seen.
    drop(service);
    while let Some(reset) = seen.recv().await {
        assert!(reset, "reset, and not ended");
    }
    eventually("no trap", async || {
        (proxy.metric("fyke_filter_traps_total", &[("filter", "f")]).await == 0.0).then_some(())
    })
    .await;
}
