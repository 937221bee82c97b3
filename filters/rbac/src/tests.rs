//! In all rings; what only a certificate says natively.

use fyke_sdk::testing::{Host, TcpTestHost, TestHost, TestRequest, World};

use crate::Rbac;

fn host(configuration: &str) -> TestHost<Rbac> {
    TestHost::configure(configuration).unwrap()
}

/// Whether a request passes where this is the only permission.
fn permits(rule: &str, request: TestRequest) -> bool {
    host(&format!("policies: {{ p: {{ permissions: [{rule}] }} }}")).send(request).status() == 200
}

#[test]
fn without_policies_everybody_passes_and_with_none_that_allows_nobody_does() {
    assert_eq!(host("{}").send(TestRequest::get("/")).status(), 200);
    let mut host = host("policies: {}");
    let out = host.send(TestRequest::get("/"));
    assert_eq!((out.status(), out.body().bytes()), (403, &b"RBAC: access denied"[..]));
    assert!(!out.reached_upstream());
    assert_eq!(host.counter("rbac_total", [("outcome", "denied"), ("policy", "none")]), 1);
}

#[test]
fn a_policy_is_any_of_its_permissions_by_any_of_its_principals() {
    let mut host = host(
        "policies: { editors: { permissions: [{ header: { name: ':method', exact: PUT } }, { path: { prefix: /drafts/ } }], \
                                principals: [{ header: { name: x-user, exact: ann } }, { header: { name: x-user, exact: bob } }] } }",
    );
    let mut status = |method: &str, path: &str, user: &str| {
        host.send(TestRequest::new(method, path).header("x-user", user)).status()
    };
    assert_eq!((status("PUT", "/a", "ann"), status("GET", "/drafts/1?x=1", "bob")), (200, 200));
    assert_eq!((status("GET", "/a", "ann"), status("PUT", "/a", "eve")), (403, 403));
    assert_eq!(host.counter("rbac_total", [("outcome", "allowed"), ("policy", "editors")]), 2);
}

#[test]
fn what_is_denied_is_said_by_the_policy_that_matched() {
    let mut host = host("{ action: deny, policies: { no admin: { permissions: [{ path: { prefix: /admin } }] } } }");
    assert_eq!(host.send(TestRequest::get("/")).status(), 200);
    assert_eq!(host.send(TestRequest::get("/admin/users")).status(), 403);
    assert_eq!(host.counter("rbac_total", [("outcome", "denied"), ("policy", "no admin")]), 1);
}

#[test]
fn a_shadow_counts_and_refuses_nobody() {
    let mut host = host("shadow: { action: deny, policies: { all: { principals: [{ any: true }] } } }");
    assert_eq!(host.send(TestRequest::get("/")).status(), 200);
    assert_eq!(host.counter("rbac_shadow_total", [("outcome", "denied"), ("policy", "all")]), 1);
}

#[test]
fn conditions_are_put_together() {
    let get = |header: &str| TestRequest::get("/a/b?c").header("x", header);
    assert!(permits("{ all_of: [{ path: { prefix: /a } }, { not: { header: { name: x, exact: no } } }] }", get("yes")));
    assert!(!permits("{ all_of: [{ path: { prefix: /a } }, { not: { header: { name: x, exact: no } } }] }", get("no")));
    assert!(permits("{ any_of: [{ path: { exact: /z } }, { path: { regex: '/[a-c]/.' } }] }", get("")));
    for (text, holds) in [
        ("exact: /a/b", true),
        ("exact: '/a/b?c'", false),
        ("exact: /A/B", false),
        ("exact: /A/B, ignore_case: true", true),
        ("suffix: /b", true),
        ("contains: a/", true),
        ("regex: /a", false),
        ("regex: '/a|/a/b'", true),
        ("", true),
    ] {
        assert_eq!(permits(&format!("{{ path: {{ {text} }} }}"), get("")), holds, "{text}");
    }
}

#[test]
fn a_second_header_does_not_hide_behind_the_first() {
    let twice = || TestRequest::get("/").header("x", "good").header("x", "bad");
    assert!(!permits("{ header: { name: x, exact: good } }", twice()));
    assert!(permits("{ header: { name: x, suffix: bad } }", twice()));
    for (test, value, holds) in [
        ("range: { start: 1, end: 3 }", Some("2"), true),
        ("range: { start: 1, end: 3 }", Some("3"), false),
        ("range: { start: 1, end: 3 }", Some("two"), false),
        ("present: false", None, true),
        ("exact: '', treat_missing_as_empty: true", None, true),
        ("exact: ''", None, false),
        ("exact: a, invert: true", None, true),
        ("prefix: A, ignore_case: true", Some("ab"), true),
        ("", Some(""), true),
    ] {
        let request = value.into_iter().fold(TestRequest::get("/"), |request, value| request.header("y", value));
        assert_eq!(permits(&format!("{{ header: {{ name: y, {test} }} }}"), request), holds, "{test} of {value:?}");
    }
}

#[test]
fn connections_are_closed_or_not_by_where_they_come_from() {
    let open = |rule: &str| {
        let mut host =
            TcpTestHost::<Rbac>::configure(&format!("policies: {{ p: {{ principals: [{rule}] }} }}")).unwrap();
        let connection = host.connect();
        let open = host.is_open(&connection);
        host.close(connection);
        open
    };
    assert!(open("{ source_ip: [10.0.0.0/8, 127.0.0.0/8] }"));
    assert!(!open("{ source_ip: [10.0.0.0/8, '::/0'] }"));
    assert!(open("{ not: { path: {} } }"), "it has no path");
    assert!(!open("{ header: { name: ':method' } }"));
    assert!(!open("{ authenticated: {} }"));
    assert!(!open("{ server_name: {} }"));
}

#[test]
fn who_has_shown_a_certificate_is_known_by_each_of_its_names() {
    let host = Host::<Rbac>::configure(
        r#"{"policies":{"p":{"principals":[{"authenticated":{"prefix":"spiffe://a/"}},{"authenticated":{"exact":"CN=admin"}}]}}}"#,
    )
    .unwrap();
    let passes = |properties: &[(&str, &[u8])]| {
        let stream = host.open();
        host.stream(stream, |state| {
            for (path, value) in properties {
                state.set_property(path, value);
            }
        });
        host.request_headers(stream, &[(":method", "GET"), (":path", "/")], true);
        let passes = World::with(|world| world.stream_mut(stream).reply.is_none());
        host.finish(stream);
        passes
    };
    let shown = ("connection.mtls", &[1_u8][..]);
    assert!(!passes(&[("connection.uri_san_peer_certificate", b"spiffe://a/b")]), "nobody has checked it");
    assert!(passes(&[shown, ("connection.uri_san_peer_certificate", b"spiffe://a/b")]));
    assert!(passes(&[
        shown,
        ("connection.subject_peer_certificate", b"CN=admin"),
        ("connection.dns_san_peer_certificate", b"x")
    ]));
    assert!(!passes(&[shown, ("connection.uri_san_peer_certificate", b"spiffe://b/a")]));
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [
        ("action: maybe", "action"),
        ("policies: { p: {} }", "policies.p"),
        ("policies: { p: { permissions: [] } }", "policies.p.permissions"),
        ("policies: { p: { permissions: [{}] } }", "policies.p.permissions[0]"),
        ("policies: { p: { permissions: [{ any: false }] } }", "policies.p.permissions[0].any"),
        ("policies: { p: { permissions: [{ any: true, path: {} }] } }", "policies.p.permissions[0]"),
        ("policies: { p: { principals: [{ source_ip: [10.0.0.0/33] }] } }", "policies.p.principals[0].source_ip[0]"),
        ("policies: { p: { principals: [{ source_ip: [] }] } }", "policies.p.principals[0].source_ip"),
        (
            "policies: { p: { principals: [{ not: { path: { regex: '(' } } }] } }",
            "policies.p.principals[0].not.path.regex",
        ),
        ("policies: { p: { principals: [{ path: { regex: 'a)|(b' } }] } }", "policies.p.principals[0].path.regex"),
        (
            "policies: { p: { principals: [{ any_of: [{ header: { name: 'a b' } }] }] } }",
            "policies.p.principals[0].any_of[0].header.name",
        ),
        (
            "policies: { p: { permissions: [{ destination_port_range: { start: 2, end: 2 } }] } }",
            "policies.p.permissions[0].destination_port_range",
        ),
        ("shadow: { policies: { p: {} } }", "shadow.policies.p"),
    ] {
        let error = TestHost::<Rbac>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}
