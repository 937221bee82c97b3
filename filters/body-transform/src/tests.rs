//! In all rings.

use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

use crate::BodyTransform;

const CONFIGURATION: &str = "
request: { set: { client.kind: web }, remove: [password] }
response: { rename: { inner.name: name }, remove: [secret], set: { list: [1, null] } }
";

fn host(configuration: &str) -> TestHost<BodyTransform> {
    TestHost::configure(configuration).unwrap()
}

fn post(body: &str) -> TestRequest {
    TestRequest::post("/").header("content-type", "application/json; charset=utf-8").body(body)
}

#[test]
fn bodies_change_on_both_ways() {
    let mut host = host(CONFIGURATION);
    host.upstream(|_| {
        TestResponse::ok()
            .header("content-type", "application/problem+json")
            .header("etag", "\"1\"")
            .body(r#"{"inner": {"name": "é", "b": 1}, "secret": 1}"#)
    });
    let out = host.send(post(r#"{"user": "a", "password": "b"}"#));
    assert_eq!(out.upstream().body(), r#"{"user":"a","client":{"kind":"web"}}"#);
    assert_eq!(out.upstream().header("content-length"), "36");
    assert_eq!(out.body(), r#"{"inner":{"b":1},"name":"é","list":[1,null]}"#);
    assert!(!out.has_header("etag"));
}

#[test]
fn every_chunking_gives_the_same() {
    let mut host = host(CONFIGURATION);
    let json = TestResponse::ok().header("content-type", "application/json");
    host.every_chunking(post("{\"a\":0}"), |out| {
        assert_eq!(out.upstream().body(), r#"{"a":0,"client":{"kind":"web"}}"#);
    });
    host.every_response_chunking(TestRequest::get("/"), json.body("{\"a\":0}"), |out| {
        assert_eq!(out.body(), r#"{"a":0,"list":[1,null]}"#);
    });
}

#[test]
fn what_is_not_json_passes() {
    let mut host = host(CONFIGURATION);
    host.upstream(|received| TestResponse::ok().header("content-type", "text/plain").body(received.body().bytes()));
    let out = host.send(TestRequest::post("/").header("content-type", "text/plain").body("{\"password\":1}"));
    assert_eq!(out.body(), "{\"password\":1}");
    let out = host.send(post("{\"password\":"));
    assert_eq!(out.body(), "{\"password\":");
    let compressed = post("\x1f").header("content-encoding", "gzip");
    assert_eq!(host.send(compressed).body(), "\x1f");
    assert_eq!(host.send(post("")).body(), "");
    assert_eq!(host.send(post("[1]")).body(), "[1]");
}

#[test]
fn what_is_not_json_is_refused_where_that_is_asked_for() {
    let mut host = host("{ request: { remove: [a] }, response: { remove: [a] }, on_invalid: refuse }");
    host.upstream(|_| TestResponse::ok().header("content-type", "application/json").body("nonsense"));
    let out = host.send(post("{\"b\":"));
    assert_eq!((out.status(), out.reached_upstream()), (400, false));
    assert_eq!(host.send(post("{}")).status(), 502);
    // Nor is it the client's choice what can be read.
    for hidden in [
        post("{\"a\":1}").header("content-encoding", "gzip"),
        TestRequest::post("/")
            .header("content-type", "text/plain")
            .header("content-type", "application/json")
            .body("?"),
        post(r#"{"\ud800":0,"a":1}"#),
    ] {
        assert_eq!(host.send(hidden).status(), 400);
    }
    let out = host.send(TestRequest::get("/").header("range", "bytes=0-9").header("accept-encoding", "gzip"));
    assert!(!out.upstream().has_header("range") && !out.upstream().has_header("accept-encoding"));
}

#[test]
fn the_worst_of_bodies_costs_one_call() {
    let mut host = host("request: { remove: [a, b.c, d], rename: { x: y }, set: { z: 1 } }");
    for field in ["\"a\":0", "\"bb\":0", "\"b\":{\"c\":1}"] {
        let count = ((256 << 10) - 2) / (field.len() + 1);
        let body = format!("{{{}}}", vec![field; count].join(","));
        assert_eq!(host.send(post(&body)).status(), 200, "{field}");
    }
}

#[test]
fn bodies_above_the_maximum_are_refused_and_others_never_are() {
    let mut host = host("request: { remove: [a] }");
    let large = format!("\"{}\"", "x".repeat(256 << 10));
    let out = host.send(post(&large));
    assert_eq!((out.status(), out.reached_upstream()), (413, false));
    let text = TestRequest::post("/").header("content-type", "text/plain").body(&large);
    assert_eq!(host.send(text).upstream().body().len(), large.len());
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [
        ("request: { remove: [a, ''] }", "request.remove[1]"),
        ("response: { rename: { a: 'b.' } }", "response.rename.a"),
        ("on_invalid: maybe", "on_invalid"),
        ("response: { sets: {} }", "response.sets"),
    ] {
        let error = TestHost::<BodyTransform>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}
