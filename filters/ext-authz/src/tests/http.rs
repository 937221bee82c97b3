//! Over HTTP.

use super::*;

const CONFIGURATION: &str = "
http:
  cluster: authz
  path_prefix: /check
  request_headers: [cookie]
  upstream_headers: [x-user]
";

#[test]
fn the_service_sees_the_request_and_the_upstream_who_sent_it() {
    let mut host = host(CONFIGURATION);
    host.cluster("authz", |asked| {
        assert_eq!((asked.method().bytes(), asked.path().bytes()), (&b"POST"[..], &b"/check/orders?x=1"[..]));
        assert_eq!(asked.authority(), "shop.example");
        assert_eq!((asked.header("authorization").bytes(), asked.header("cookie").bytes()), (&b"t"[..], &b"a=1"[..]));
        assert!(!asked.has_header("x-other"));
        TestResponse::ok()
            .header("x-user", "alice")
            .header("x-secret", "1")
            .header("x-envoy-auth-headers-to-remove", "authorization, x-other")
    });
    let request = TestRequest::post("/orders?x=1").authority("shop.example").header("authorization", "t");
    let request = request.header("cookie", "a=1").header("x-other", "1").header("x-user", "root").body("three");
    let out = host.send(request);
    assert_eq!(out.upstream().values("x-user"), ["alice"]);
    assert_eq!(out.upstream().body(), "three");
    for gone in ["authorization", "x-other", "x-secret"] {
        assert!(!out.upstream().has_header(gone), "{gone}");
    }
    assert_eq!(host.counter("ext_authz_total", [("verdict", "allowed")]), 1);
}

#[test]
fn what_a_client_claims_is_not_believed() {
    let mut host = host(CONFIGURATION);
    host.cluster("authz", |_| TestResponse::ok());
    let out = host.send(TestRequest::get("/").header("x-user", "root"));
    assert!(!out.upstream().has_header("x-user"));
    let mut host = super::host("{ http: { cluster: authz, upstream_headers: [x-user] }, failure_mode: allow }");
    host.cluster("authz", |_| TestResponse::new(500));
    let out = host.send(TestRequest::get("/").header("x-user", "root"));
    assert!(!out.upstream().has_header("x-user"), "nor where the service says nothing");
}

#[test]
fn a_denial_is_the_clients() {
    let mut host = host(CONFIGURATION);
    host.cluster("authz", |_| {
        TestResponse::new(401).header("www-authenticate", "Basic").header("x-inner", "1").body("who are you?")
    });
    let out = host.send(TestRequest::get("/"));
    assert_eq!((out.status(), out.body().bytes()), (401, &b"who are you?"[..]));
    assert_eq!(out.header("www-authenticate"), "Basic");
    assert!(!out.has_header("x-inner") && !out.reached_upstream());
    assert_eq!(host.counter("ext_authz_total", [("verdict", "denied")]), 1);
}

#[test]
fn a_service_that_fails_denies() {
    let mut host = host(CONFIGURATION);
    host.cluster("authz", |_| TestResponse::new(500));
    assert_eq!(host.send(TestRequest::get("/")).status(), 403);
    host.cluster("authz", |_| TestResponse::reset());
    assert_eq!(host.send(TestRequest::get("/")).status(), 403);
    assert_eq!(host.counter("ext_authz_total", [("verdict", "failure_denied")]), 2);
    assert!(host.logs().iter().any(|line| line.contains("the request is denied")), "{:?}", host.logs());
}

#[test]
fn the_service_is_told_more_than_the_request_says() {
    let mut host = host(
        "http: { cluster: authz, request_headers: [x-team], headers_to_add: { X-Team: shop, x-path: '%{request.path}', x-none: '%REQ(x-none)%' } }",
    );
    host.cluster("authz", |asked| {
        assert_eq!(asked.values("x-team"), ["shop"]);
        assert_eq!(asked.header("x-path"), "/a?b");
        assert!(!asked.has_header("x-none"));
        TestResponse::ok()
    });
    let out = host.send(TestRequest::get("/a?b").header("x-team", "root"));
    assert_eq!(out.upstream().values("x-team"), ["root"], "the upstream gets its own");
}

#[test]
fn what_goes_on_unasked_says_so_if_it_is_to() {
    const MARK: &str = "x-envoy-auth-failure-mode-allowed";
    let mut host = host("{ http: { cluster: authz }, failure_mode: allow, failure_header: true }");
    host.cluster("authz", |_| TestResponse::new(500));
    let request = || TestRequest::get("/").header(MARK, "maybe");
    assert_eq!(host.send(request()).upstream().values(MARK), ["true"]);
    host.cluster("authz", |_| TestResponse::ok());
    assert!(!host.send(request()).upstream().has_header(MARK), "nor does a client say so");
    let mut host = super::host("{ http: { cluster: authz }, failure_mode: allow }");
    host.cluster("authz", |_| TestResponse::new(500));
    assert!(!host.send(TestRequest::get("/")).upstream().has_header(MARK));
}
