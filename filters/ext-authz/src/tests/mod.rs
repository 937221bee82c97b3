//! In all rings.

use std::time::Duration;

use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

use crate::ExtAuthz;

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
