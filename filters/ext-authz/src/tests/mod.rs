//! In all rings.

use std::time::Duration;

use fyke_sdk::testing::{Ring, TestHost, TestRequest, TestResponse, World};

use crate::ExtAuthz;

mod body;
mod grpc;
mod http;

fn host(configuration: &str) -> TestHost<ExtAuthz> {
    TestHost::configure(configuration).unwrap()
}

/// A service that does not answer denies, or allows, as the configuration says.
fn fails(mut host: TestHost<ExtAuthz>, silence: impl FnOnce(&mut TestHost<ExtAuthz>), verdict: &str) -> u16 {
    silence(&mut host);
    let flight = host.start(TestRequest::get("/"));
    assert!(!host.is_done(&flight));
    host.advance(Duration::from_millis(2100));
    let status = host.finish(flight).status();
    assert_eq!(host.counter("ext_authz_total", [("verdict", verdict)]), 1);
    status
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [
        ("{}", ""),
        ("{ http: { cluster: a }, grpc: { cluster: a } }", ""),
        ("http: { cluster: '' }", "http.cluster"),
        ("http: { cluster: a, path_prefix: check }", "http.path_prefix"),
        ("http: { cluster: a, request_headers: [x, 'a b'] }", "http.request_headers[1]"),
        ("{ grpc: { cluster: a }, status_on_error: 100 }", "status_on_error"),
        ("{ grpc: { cluster: a, timeout: 1 } }", "grpc.timeout"),
        ("{ grpc: { cluster: a, headers: [] } }", "grpc.headers"),
        ("{ grpc: { cluster: a }, body: { max: 0B } }", "body.max"),
        ("{ grpc: { cluster: a }, body: { max: 8192 } }", "body.max"),
        ("{ grpc: { cluster: a }, body: { least: 1B } }", "body.least"),
        ("{ http: { cluster: a }, body: { as_bytes: true } }", "body.as_bytes"),
        ("{ grpc: { cluster: a }, fraction: 101% }", "fraction"),
        ("{ grpc: { cluster: a }, unasked: maybe }", "unasked"),
        ("{ grpc: { cluster: a }, failure_header: true }", "failure_header"),
        ("{ http: { cluster: a, headers_to_add: { 'a(b': c } } }", "http.headers_to_add.a(b"),
        ("{ http: { cluster: a, headers_to_add: { a: '%' } } }", "http.headers_to_add.a"),
        ("{ http: { cluster: a, headers_to_add: { host: c } } }", "http.headers_to_add.host"),
        (
            "{ http: { cluster: a, headers_to_add: { X-Envoy-Auth-Partial-Body: c } } }",
            "http.headers_to_add.X-Envoy-Auth-Partial-Body",
        ),
        ("{ disabled: true, http: { cluster: a, path_prefix: check } }", "http.path_prefix"),
        ("{ disabled: false }", ""),
    ] {
        let error = TestHost::<ExtAuthz>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}

#[test]
fn silence_denies_unless_it_may_allow() {
    let silent_http = |host: &mut TestHost<ExtAuthz>| host.cluster("authz", |_| TestResponse::hang());
    let silent_grpc = |host: &mut TestHost<ExtAuthz>| host.grpc("authz", |_| fyke_sdk::testing::GrpcAnswer::hang());
    assert_eq!(fails(host("http: { cluster: authz, timeout: 2s }"), silent_http, "failure_denied"), 403);
    assert_eq!(
        fails(host("{ grpc: { cluster: authz, timeout: 2s }, status_on_error: 503 }"), silent_grpc, "failure_denied"),
        503
    );
    assert_eq!(
        fails(host("{ http: { cluster: authz, timeout: 2s }, failure_mode: allow }"), silent_http, "failure_allowed"),
        200
    );
    assert_eq!(
        fails(host("{ grpc: { cluster: authz, timeout: 2s }, failure_mode: allow }"), silent_grpc, "failure_allowed"),
        200
    );
}

#[test]
fn what_is_disabled_asks_nobody_and_changes_nothing() {
    for configuration in [
        "disabled: true",
        "{ disabled: true, http: { cluster: authz, upstream_headers: [x-user] }, fraction: 0%, unasked: deny }",
    ] {
        let mut host = host(configuration);
        let out = host.send(TestRequest::post("/").header("x-user", "root").chunks(["ab", "cd"]));
        assert_eq!((out.upstream().body().bytes(), out.status()), (&b"abcd"[..], 200));
        assert_eq!(out.upstream().values("x-user"), ["root"]);
    }
}

#[test]
fn a_share_of_requests_is_asked_about() {
    let mut host = host("{ http: { cluster: authz, upstream_headers: [x-user] }, fraction: 50% }");
    host.cluster("authz", |_| TestResponse::new(401));
    for _ in 0..200 {
        let out = host.send(TestRequest::get("/").header("x-user", "root"));
        assert!(
            !out.reached_upstream() || !out.upstream().has_header("x-user"),
            "who is not asked about is believed no more"
        );
    }
    let asked = host.counter("ext_authz_total", [("verdict", "denied")]);
    assert!((50..=150).contains(&asked), "{asked}");
    assert_eq!(host.counter("ext_authz_total", [("verdict", "unasked_allowed")]), 200 - asked);
}

#[test]
fn the_others_may_be_denied() {
    let mut host = host("{ grpc: { cluster: authz }, fraction: 0%, unasked: deny, status_on_error: 503, body: {} }");
    let out = host.send(TestRequest::post("/").body("four"));
    assert_eq!((out.status(), out.reached_upstream()), (503, false));
    assert_eq!(host.counter("ext_authz_total", [("verdict", "unasked_denied")]), 1);
}

#[test]
fn the_host_is_told_what_a_configuration_has_no_use_for() {
    for (configuration, skipped) in [
        ("http: { cluster: a }", Some("request_body,request_trailers")),
        ("{ http: { cluster: a }, body: {} }", None),
        ("disabled: true", Some("request_headers,request_body,request_trailers,response_headers")),
    ] {
        if host(configuration).ring() == Ring::Native {
            assert_eq!(World::with(|world| world.skipped.take()).as_deref(), skipped, "{configuration}");
        }
    }
}
