//! Where keys come from.

use fyke_sdk::testing::{Host, TestRequest};

use super::{of, passed, rule};
use crate::RateLimit;

/// Whether two requests are counted together by a key.
fn are_one(source: &str, one: TestRequest, other: TestRequest) -> bool {
    let mut host = rule(&format!("key: [{{ from: {source} }}], limit: 1/h"));
    assert_eq!(passed(&mut host, &one, 2), 1, "{source} yields nothing of the first");
    match passed(&mut host, &other, 2) {
        0 => true,
        1 => false,
        _ => panic!("{source} yields nothing of the second"),
    }
}

#[test]
fn requests_are_counted_by_what_they_are() {
    let get = TestRequest::get;
    for (source, one, other, same) in [
        ("{ request_header: X-Tenant }", of("a"), of("b"), false),
        ("{ request_header: X-Tenant }", of("a"), of("a").header("x-other", "b"), true),
        (
            "{ cookie: session }",
            get("/").header("cookie", "a=1; session=x"),
            get("/").header("cookie", "session=x"),
            true,
        ),
        ("{ cookie: session }", get("/").header("cookie", "session=x"), get("/").header("cookie", "session=y"), false),
        ("{ query: key }", get("/?key=a%20b"), get("/other?x=1&key=a+b"), true),
        ("{ query: key }", get("/?key=a"), get("/?key=b"), false),
        ("method", get("/a"), get("/b"), true),
        ("method", get("/"), TestRequest::post("/"), false),
        ("path", get("/a?b"), get("/a?c"), true),
        ("path", get("/a"), get("/b"), false),
        ("host", get("/a"), get("/b"), true),
        ("host", get("/"), get("/").authority("other.example"), false),
        ("remote_address", get("/a"), get("/b"), true),
        ("{ value: all }", get("/a"), TestRequest::post("/b"), true),
    ] {
        assert_eq!(are_one(source, one, other), same, "{source}");
    }
}

#[test]
fn parts_are_captured_lowered_and_have_defaults() {
    let mut host = rule(
        "key: [{ from: { request_header: x-tenant }, regex: '^([a-z]+)-', default: rest, lower_case: false }], limit: 1/h",
    );
    assert_eq!(passed(&mut host, &of("shop-1"), 1), 1);
    assert_eq!(passed(&mut host, &of("shop-2"), 1), 0);
    assert_eq!(passed(&mut host, &of("bank-1"), 1), 1);
    // What does not match, and what is not there, count together.
    assert_eq!(passed(&mut host, &of("12"), 1), 1);
    assert_eq!(passed(&mut host, &TestRequest::get("/"), 1), 0);
    let mut host = rule("key: [{ from: { request_header: x-tenant }, lower_case: true }], limit: 1/h");
    assert_eq!(passed(&mut host, &of("Shop"), 1), 1);
    assert_eq!(passed(&mut host, &of("sHOP"), 1), 0);
}

#[test]
fn every_part_of_a_key_counts() {
    let mut host = rule("key: [{ from: { request_header: x-tenant } }, { from: method }], limit: 1/h");
    let post = |tenant| TestRequest::post("/").header("x-tenant", tenant);
    for (request, count) in [(of("a"), 1), (of("a"), 0), (post("a"), 1), (of("b"), 1), (post("b"), 1), (post("b"), 0)] {
        assert_eq!(passed(&mut host, &request, 1), count, "{request:?}");
    }
}

/// Whether two streams with these properties are counted together.
fn property_is_one(source: &str, name: &str, one: &[u8], other: &[u8]) -> bool {
    let configuration = format!(r#"{{"rules":[{{"name":"r","key":[{{"from":{source}}}],"limit":"1/h"}}]}}"#);
    let host = Host::<RateLimit>::configure(&configuration).unwrap();
    let send = |value: &[u8]| {
        let stream = host.open();
        host.stream(stream, |state| state.set_property(name, value));
        host.request_headers(stream, &[(":method", "GET"), (":path", "/")], true);
        let refused = host.reply(stream).is_some();
        host.finish(stream);
        refused
    };
    assert_eq!((send(one), send(one)), (false, true), "{source}");
    send(other)
}

#[test]
fn requests_are_counted_by_what_the_host_knows() {
    for (source, property, one, other, same) in [
        (r#""route_name""#, "route_name", &b"a"[..], &b"b"[..], false),
        (r#"{"route_metadata":"plan.name"}"#, "route_metadata.plan.name", b"gold", b"gold", true),
        (r#""remote_address""#, "source.address", b"10.0.0.1:80", b"10.0.0.1:81", true),
        (r#""remote_address""#, "source.address", b"10.0.0.1:80", b"10.0.0.2:80", false),
        (r#""masked_address""#, "source.address", b"10.0.0.1:80", b"10.0.0.2:80", true),
        (r#""masked_address""#, "source.address", b"10.0.0.1:80", b"10.0.1.1:80", false),
        (r#""masked_address""#, "source.address", b"[2001:db8::1]:80", b"[2001:db8::ffff:1]:80", true),
        (r#""masked_address""#, "source.address", b"[2001:db8::1]:80", b"[2001:db8:0:1::1]:80", false),
        (r#""masked_address""#, "source.address", b"[::ffff:10.0.0.1]:80", b"10.0.0.7:80", true),
        (r#"{"masked_address":{"ipv4":32}}"#, "source.address", b"10.0.0.1:80", b"10.0.0.2:80", false),
        (r#""peer_identity""#, "connection.uri_san_peer_certificate", b"spiffe://a/ns/b", b"spiffe://a/ns/c", false),
        (r#""peer_identity""#, "connection.dns_san_peer_certificate", b"a.example", b"a.example", true),
        (r#""peer_identity""#, "connection.subject_peer_certificate", b"CN=a", b"CN=b", false),
        (r#"{"property":"jwt.claims.sub"}"#, "jwt.claims.sub", b"alice", b"bob", false),
        (r#"{"property":"metadata.filter.tenant"}"#, "metadata.filter.tenant", b"alice", b"alice", true),
    ] {
        assert_eq!(property_is_one(source, property, one, other), same, "{source} {other:?}");
    }
}
