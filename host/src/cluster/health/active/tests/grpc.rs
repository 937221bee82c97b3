use std::convert::Infallible;

use ::bytes::Bytes;
use ::http::{
    HeaderMap, HeaderValue, Request, Response, Version,
    uri::{Authority, PathAndQuery},
};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{
    super::{GrpcCheck, HttpCheck, HttpProtocol},
    *,
};

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A host that answers each request with what `answer` makes of its head and body.
async fn host(answer: fn(Request<Bytes>) -> Answer) -> Host {
    Host::start(move |socket| async move {
        let service = service_fn(move |request: Request<Incoming>| async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(answer(Request::from_parts(head, body)))
        });
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
    })
    .await
}

fn with(message: &'static [u8], trailers: &[(&'static str, &'static str)]) -> Answer {
    let trailers: HeaderMap = trailers
        .iter()
        .map(|(name, value)| (::http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let body = Full::new(Bytes::from_static(message));
    if trailers.is_empty() {
        return Response::new(body.boxed());
    }
    Response::new(body.with_trailers(async move { Some(Ok(trailers)) }).boxed())
}

fn check(service: &str) -> Kind {
    let mut check = GrpcCheck::new(Authority::from_static("users.internal"));
    service.clone_into(&mut check.service);
    Kind::Grpc(check)
}

const OK: &[(&str, &str)] = &[("grpc-status", "0")];

#[tokio::test]
async fn serving_passes_and_the_connection_is_kept() {
    let host = host(|request| {
        assert_eq!(request.uri(), "http://users.internal/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(&request.body()[..], b"\0\0\0\0\x07\x0a\x05users");
        with(b"\0\0\0\0\x02\x08\x01", OK)
    })
    .await;
    let mut probe = host.probe(check("users"));
    for _ in 0..3 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 1);
}

#[tokio::test]
async fn whatever_else_is_answered_fails_at_once_in_words() {
    type Row = (fn(Request<Bytes>) -> Answer, &'static str);
    let rows: [Row; 10] = [
        (|_| with(b"\0\0\0\0\x02\x08\x02", OK), "service users is NOT_SERVING"),
        (|_| with(b"\0\0\0\0\0", OK), "service users is UNKNOWN, expected SERVING"),
        (|_| with(b"\0\0\0\0\x02\x08\x03", OK), "service users is not known to the server (SERVICE_UNKNOWN)"),
        (|_| with(b"", &[("grpc-status", "12")]), "the server does not offer grpc.health.v1.Health (UNIMPLEMENTED)"),
        (
            |_| with(b"", &[("grpc-status", "5"), ("grpc-message", "unknown service")]),
            "service users is not known to the server (NOT_FOUND): unknown service",
        ),
        (
            |_| with(b"", &[("grpc-status", "14")]),
            "/grpc.health.v1.Health/Check was answered with the gRPC status 14 (UNAVAILABLE)",
        ),
        (|_| with(b"\0\0\0\0\x09\x08\x01", OK), "/grpc.health.v1.Health/Check was answered with a malformed message"),
        (
            |_| with(b"\0\0\0\0\x02\x08\x01", &[]),
            "/grpc.health.v1.Health/Check was answered without a grpc-status: not a gRPC server?",
        ),
        (
            |_| {
                let mut answer = with(b"not found", &[]);
                *answer.status_mut() = ::http::StatusCode::NOT_FOUND;
                answer
            },
            "/grpc.health.v1.Health/Check answered the HTTP status 404, expected 200",
        ),
        (|_| with(&[0; 5000], OK), "the answer is longer than 4096 bytes"),
    ];
    for (answer, words) in rows {
        let host = host(answer).await;
        assert_eq!(failed(host.probe(check("users")).check().await), active(words));
    }
}

#[tokio::test]
async fn a_status_without_a_message_is_heard_too() {
    let host = host(|_| {
        let mut answer = with(b"", &[]);
        answer.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
        answer
    })
    .await;
    let words = "the server does not offer grpc.health.v1.Health (UNIMPLEMENTED)";
    assert_eq!(failed(host.probe(check("")).check().await), active(words));
}

#[tokio::test]
async fn a_host_that_hangs_or_speaks_something_else_is_a_failure_of_the_network() {
    assert_eq!(failed(Host::silent().await.hasty_probe(check("")).check().await), timed_out());
    let host = Host::closing_after(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(failed(host.probe(check("")).check().await).0, FailureKind::Network);
    let host = Host::closing_after(b"").await;
    assert_eq!(failed(host.probe(check("")).check().await).0, FailureKind::Network);
}

#[tokio::test]
async fn plain_http2_is_checked_by_its_status() {
    let host = host(|request| {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.uri(), "http://users.internal/healthz");
        with(b"ok", &[])
    })
    .await;
    let check = HttpCheck::new(PathAndQuery::from_static("/healthz"), Authority::from_static("users.internal"));
    let mut probe = host.probe(Kind::Http(HttpCheck { protocol: HttpProtocol::Http2, ..check }));
    for _ in 0..3 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 1);
}
