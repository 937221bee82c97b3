//! Over gRPC.

use fyke_sdk::testing::GrpcAnswer;
use prost::Message as _;

use super::*;
use crate::messages::{
    Allowed, BoolValue, CheckRequest, CheckResponse, Denied, HeaderValue, HeaderValueOption, HttpResponse, HttpStatus,
    Status,
};

const CONFIGURATION: &str = "grpc: { cluster: authz, context_extensions: { team: shop } }";

fn header(key: &str, value: &str, append: Option<bool>) -> HeaderValueOption {
    let header = Some(HeaderValue { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() });
    HeaderValueOption { header, append: append.map(|value| BoolValue { value }), append_action: 0 }
}

fn answer(code: i32, http_response: Option<HttpResponse>) -> GrpcAnswer {
    let status = Some(Status { code, message: String::new() });
    GrpcAnswer::message(CheckResponse { status, http_response }.encode_to_vec())
}

#[test]
fn the_service_sees_the_request_in_envoys_words() {
    let mut host = host(CONFIGURATION);
    host.grpc("authz", |call| {
        assert_eq!(call.path(), "/envoy.service.auth.v3.Authorization/Check");
        let attributes = CheckRequest::decode(&call.messages()[0][..]).unwrap().attributes.unwrap();
        let http = attributes.request.unwrap().http.unwrap();
        assert_eq!((http.method.as_str(), http.path.as_str(), http.size), ("POST", "/a?b", 2));
        assert_eq!((http.host.as_str(), http.scheme.as_str()), ("test.example", "http"));
        assert_eq!(http.headers["x-many"], "1,2");
        assert_eq!(attributes.context_extensions["team"], "shop");
        let source = attributes.source.unwrap().address.unwrap().socket_address.unwrap();
        assert_eq!(source.address, "127.0.0.1");
        assert!(source.port_value > 0);
        answer(0, None)
    });
    let out = host.send(TestRequest::post("/a?b").header("x-many", "1").header("x-many", "2").body("hi"));
    assert_eq!(out.upstream().body(), "hi");
}

#[test]
fn an_allowed_request_and_its_answer_are_changed() {
    let mut host = host(CONFIGURATION);
    host.grpc("authz", |_| {
        let allowed = Allowed {
            headers: vec![
                header("x-user", "alice", None),
                header("x-role", "b", Some(true)),
                header(":path", "/x", None),
            ],
            headers_to_remove: vec!["authorization".to_owned(), "host".to_owned()],
            response_headers_to_add: vec![header("x-limit", "9", Some(false)), header("set-cookie", "s=1", None)],
        };
        answer(0, Some(HttpResponse::Ok(allowed)))
    });
    host.upstream(|_| TestResponse::ok().header("x-limit", "1").header("set-cookie", "a=1"));
    let request = TestRequest::get("/").header("authorization", "t").header("x-user", "root").header("x-role", "a");
    let out = host.send(request);
    assert_eq!(out.upstream().path(), "/");
    assert_eq!(out.upstream().values("x-user"), ["alice"]);
    assert_eq!(out.upstream().values("x-role"), ["a", "b"]);
    assert!(!out.upstream().has_header("authorization") && !out.upstream().has_header("x-absent"));
    assert_eq!(out.values("x-limit"), ["9"]);
    assert_eq!(out.values("set-cookie"), ["a=1", "s=1"]);
}

#[test]
fn a_denial_is_the_clients() {
    let mut host = host(CONFIGURATION);
    host.grpc("authz", |_| {
        let denied = Denied {
            status: Some(HttpStatus { code: 429 }),
            headers: vec![header("retry-after", "5", None)],
            body: "slowly".to_owned(),
        };
        answer(7, Some(HttpResponse::Denied(denied)))
    });
    let out = host.send(TestRequest::get("/"));
    assert_eq!((out.status(), out.body().bytes(), out.reached_upstream()), (429, &b"slowly"[..], false));
    assert_eq!(out.header("retry-after"), "5");
    // A denial is one whatever comes with it.
    host.grpc("authz", |_| answer(16, Some(HttpResponse::Ok(Allowed::default()))));
    assert_eq!(host.send(TestRequest::get("/")).status(), 403);
    host.grpc("authz", |_| answer(7, None));
    assert_eq!(host.send(TestRequest::get("/")).status(), 403);
    assert_eq!(host.counter("ext_authz_total", [("verdict", "denied")]), 3);
}

#[test]
fn what_cannot_be_read_or_asked_denies() {
    let mut host = host(CONFIGURATION);
    // An answer that was cut in half.
    let whole =
        CheckResponse { status: Some(Status { code: 0, message: "a message".to_owned() }), http_response: None };
    let half = whole.encode_to_vec()[..4].to_vec();
    host.grpc("authz", move |_| GrpcAnswer::message(&half));
    assert_eq!(host.send(TestRequest::get("/")).status(), 403);
    host.grpc("authz", |_| GrpcAnswer::status(14, "away"));
    assert_eq!(host.send(TestRequest::get("/")).status(), 403);
    assert_eq!(host.counter("ext_authz_total", [("verdict", "failure_denied")]), 2);
}
