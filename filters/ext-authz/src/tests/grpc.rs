//! Over gRPC.

use std::collections::BTreeMap;

use fyke_sdk::testing::{GrpcAnswer, Ring};
use prost::Message as _;

use super::*;
use crate::messages::{
    Allowed, BoolValue, CheckRequest, CheckResponse, Denied, HeaderValue, HeaderValueOption, HttpResponse, HttpStatus,
    QueryParameter, Status,
};
use crate::metadata::{Kind, List, Struct, Value};

const CONFIGURATION: &str = "grpc: { cluster: authz, context_extensions: { team: shop } }";

fn header(key: &str, value: &str, append: Option<bool>) -> HeaderValueOption {
    let header = Some(HeaderValue { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() });
    HeaderValueOption { header, append: append.map(|value| BoolValue { value }), append_action: 0 }
}

fn answer(code: i32, http_response: Option<HttpResponse>) -> GrpcAnswer {
    let status = Some(Status { code, message: String::new() });
    GrpcAnswer::message(CheckResponse { status, http_response, dynamic_metadata: None }.encode_to_vec())
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
            ..Allowed::default()
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
    let status = Some(Status { code: 0, message: "a message".to_owned() });
    let whole = CheckResponse { status, ..CheckResponse::default() };
    let half = whole.encode_to_vec()[..4].to_vec();
    host.grpc("authz", move |_| GrpcAnswer::message(&half));
    assert_eq!(host.send(TestRequest::get("/")).status(), 403);
    host.grpc("authz", |_| GrpcAnswer::status(14, "away"));
    assert_eq!(host.send(TestRequest::get("/")).status(), 403);
    assert_eq!(host.counter("ext_authz_total", [("verdict", "failure_denied")]), 2);
}

#[test]
fn an_allowed_requests_query_is_changed() {
    let mut host = host(CONFIGURATION);
    host.grpc("authz", |_| {
        let set = QueryParameter { key: "user".to_owned(), value: "alice & bob".to_owned() };
        let allowed = Allowed {
            query_parameters_to_set: vec![set],
            query_parameters_to_remove: vec!["token".to_owned()],
            ..Allowed::default()
        };
        answer(0, Some(HttpResponse::Ok(allowed)))
    });
    let out = host.send(TestRequest::get("/a?token=1&x=%41&%75ser=root&tok%65n=2"));
    assert_eq!(out.upstream().path(), "/a?x=%41&user=alice%20%26%20bob");
    assert_eq!(host.send(TestRequest::get("/a")).upstream().path(), "/a?user=alice%20%26%20bob");
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn object<const N: usize>(fields: [(&str, Kind); N]) -> Struct {
    Struct { fields: fields.into_iter().map(|(name, kind)| (name.to_owned(), value(kind))).collect::<BTreeMap<_, _>>() }
}

#[test]
fn metadata_becomes_properties_whatever_the_verdict() {
    let mut host = host(CONFIGURATION);
    if host.ring() != Ring::Native {
        return;
    }
    let list = vec![
        value(Kind::Text("a\"\n".to_owned())),
        value(Kind::Number(2.5)),
        value(Kind::Null(0)),
        value(Kind::Struct(object([("deep", Kind::Boolean(true))]))),
    ];
    let metadata = object([
        ("user", Kind::Text("alice".to_owned())),
        ("level", Kind::Number(3.0)),
        ("staff", Kind::Boolean(true)),
        ("plan", Kind::Struct(object([("seats", Kind::Number(5.0))]))),
        ("roles", Kind::List(List { values: list })),
        ("nothing", Kind::Null(0)),
        ("a\0b", Kind::Boolean(true)),
    ]);
    for code in [0, 7] {
        let metadata = metadata.clone();
        host.grpc("authz", move |_| {
            let status = Some(Status { code, message: String::new() });
            let dynamic_metadata = Some(metadata.clone());
            GrpcAnswer::message(CheckResponse { status, dynamic_metadata, ..CheckResponse::default() }.encode_to_vec())
        });
        let flight = host.start(TestRequest::get("/"));
        let mut set: Vec<(String, String)> = World::with(|world| {
            let all = world.streams.values().flat_map(|stream| &stream.properties);
            let set = all.filter(|(path, _)| path.starts_with("ext_authz"));
            set.map(|(path, text)| (path.clone(), String::from_utf8(text.clone()).unwrap())).collect()
        });
        set.sort();
        let expected = [
            ("ext_authz.level", "3"),
            ("ext_authz.plan.seats", "5"),
            ("ext_authz.roles", r#"["a\"\u000a",2.5,null,{"deep":true}]"#),
            ("ext_authz.staff", "true"),
            ("ext_authz.user", "alice"),
        ];
        assert_eq!(set, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert_eq!(host.finish(flight).status(), if code == 0 { 200 } else { 403 });
    }
}
