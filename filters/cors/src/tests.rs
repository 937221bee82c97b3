//! In all rings.

use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

use crate::Cors;

fn host(configuration: &str) -> TestHost<Cors> {
    TestHost::configure(configuration).unwrap()
}

fn preflight(origin: &str) -> TestRequest {
    TestRequest::new("OPTIONS", "/")
        .header("origin", origin)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "x-a, x-b")
}

#[test]
fn a_preflight_is_answered_here() {
    let mut host = host(
        "{ allow_origins: ['https://a.example'], allow_methods: [GET, PUT], allow_headers: [X-A], allow_credentials: true, max_age: 10m }",
    );
    let out = host.send(preflight("https://a.example"));
    assert_eq!(out.status(), 204);
    assert!(!out.reached_upstream());
    assert_eq!(out.header("access-control-allow-origin"), "https://a.example");
    assert_eq!(out.header("access-control-allow-methods"), "GET, PUT");
    assert_eq!(out.header("access-control-allow-headers"), "x-a");
    assert_eq!(out.header("access-control-allow-credentials"), "true");
    assert_eq!(out.header("access-control-max-age"), "600");
    assert!(out.header("vary").contains("origin"));
}

#[test]
fn answers_say_who_may_read_them() {
    let mut host = host("{ allow_origins: ['https://*.a.example'], expose_headers: [x-total] }");
    host.upstream(|_| {
        TestResponse::ok()
            .header("access-control-allow-origin", "https://of-the-upstream.example")
            .header("access-control-allow-credentials", "true")
    });
    let out = host.send(TestRequest::get("/").header("origin", "https://b.a.example"));
    assert!(out.reached_upstream());
    assert_eq!(out.values("access-control-allow-origin"), ["https://b.a.example"]);
    assert_eq!(out.header("access-control-expose-headers"), "x-total");
    assert_eq!(out.header("vary"), "origin");
    assert!(!out.has_header("access-control-allow-credentials"));
}

#[test]
fn others_pass_as_they_are() {
    let mut host = host("allow_origins: ['https://a.example']");
    let strange = host.send(TestRequest::get("/").header("origin", "https://evil.example"));
    assert!(strange.reached_upstream() && !strange.has_header("access-control-allow-origin"));
    assert_eq!(strange.header("vary"), "origin");
    let same = host.send(TestRequest::get("/"));
    assert!(same.reached_upstream() && !same.has_header("access-control-allow-origin"));
    let options = host.send(TestRequest::new("OPTIONS", "/").header("origin", "https://a.example"));
    assert!(options.reached_upstream(), "an OPTIONS that asks for no method is no preflight");
    assert!(host.send(preflight("https://evil.example")).reached_upstream());
}

#[test]
fn origins_are_told_by_what_they_are_like() {
    for (entry, good, bad) in [
        ("{ exact: 'https://A.example' }", "https://A.example", "https://a.example"),
        ("{ exact: 'https://A.example', ignore_case: true }", "https://a.example", "https://a.example.evil.org"),
        ("{ prefix: 'https://a.' }", "https://a.example", "http://a.example"),
        ("{ suffix: '.a.example' }", "https://b.a.example", "https://b.a.example.evil.org"),
        ("{ contains: '.internal.' }", "https://b.internal.example", "https://internal.example"),
        ("{ regex: 'https://[a-z]+\\.example\\.com' }", "https://a.example.com", "https://a.example.com.evil.org"),
    ] {
        let mut host =
            host(&format!("{{ allow_origins: ['https://first.example', {entry}], allow_credentials: true }}"));
        let out = host.send(preflight(good));
        assert_eq!(out.status(), 204, "{entry}");
        assert_eq!(out.header("access-control-allow-origin"), good, "{entry}");
        assert!(out.header("vary").contains("origin"), "{entry}");
        let out = host.send(TestRequest::get("/").header("origin", good));
        assert_eq!(out.header("access-control-allow-origin"), good, "{entry}");
        let out = host.send(preflight(bad));
        assert!(out.reached_upstream() && !out.has_header("access-control-allow-origin"), "{entry}");
        assert_eq!(host.send(preflight("https://first.example")).status(), 204, "{entry}");
    }
}

#[test]
fn what_is_too_long_for_an_origin_is_like_none() {
    let mut host = host("allow_origins: [{ regex: 'https://a+[.]example' }]");
    assert_eq!(host.send(preflight(&format!("https://{}.example", "a".repeat(200)))).status(), 204);
    assert!(host.send(preflight(&format!("https://{}.example", "a".repeat(2000)))).reached_upstream());
}

#[test]
fn every_origin_is_one_answer_for_all() {
    let mut host = host("{ allow_origins: ['*'], allow_headers: ['*'] }");
    let out = host.send(preflight("https://whoever.example"));
    assert_eq!(out.header("access-control-allow-origin"), "*");
    assert_eq!(out.header("access-control-allow-headers"), "x-a, x-b");
    let out = host.send(TestRequest::get("/").header("origin", "null"));
    assert_eq!(out.header("access-control-allow-origin"), "*");
    assert!(!out.has_header("vary"));
}

#[test]
fn vary_is_not_said_twice() {
    let mut host = host("allow_origins: ['https://a.example']");
    host.upstream(|_| TestResponse::ok().header("vary", "Accept, Origin"));
    assert_eq!(host.send(TestRequest::get("/")).values("vary"), ["Accept, Origin"]);
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [
        ("{}", ""),
        ("allow_origins: []", "allow_origins"),
        ("allow_origins: [a.example]", "allow_origins[0]"),
        ("allow_origins: [{}]", "allow_origins[0]"),
        ("allow_origins: ['https://a.example', 1]", "allow_origins[1]"),
        ("allow_origins: [{ ignore_case: true }]", "allow_origins[0]"),
        ("allow_origins: [{ exact: 'https://a', prefix: 'https://' }]", "allow_origins[0]"),
        ("allow_origins: [{ exact: '*' }]", "allow_origins[0].exact"),
        ("allow_origins: [{ exact: '' }]", "allow_origins[0].exact"),
        ("allow_origins: [{ prefix: '' }]", "allow_origins[0].prefix"),
        ("allow_origins: ['*', { suffix: '' }]", "allow_origins[1].suffix"),
        ("allow_origins: [{ contains: '' }]", "allow_origins[0].contains"),
        ("allow_origins: [{ contains: 1 }]", "allow_origins[0].contains"),
        ("allow_origins: [{ regex: '' }]", "allow_origins[0].regex"),
        ("allow_origins: ['*', { regex: '(' }]", "allow_origins[1].regex"),
        ("allow_origins: [{ regex: 'a)|(b' }]", "allow_origins[0].regex"),
        ("allow_origins: [{ regex: '(?=a)' }]", "allow_origins[0].regex"),
        ("allow_origins: [{ regex: a, ignore_case: true }]", "allow_origins[0].ignore_case"),
        ("allow_origins: [{ regexp: a }]", "allow_origins[0].regexp"),
        ("{ allow_origins: ['*'], allow_credentials: true }", "allow_credentials"),
        ("{ allow_origins: [{ prefix: 'https://a' }, '*'], allow_credentials: true }", "allow_credentials"),
        ("{ allow_origins: ['*'], allow_methods: [GET, 'P T'] }", "allow_methods[1]"),
        ("{ allow_origins: ['*'], max_age: 10 }", "max_age"),
        ("{ allow_origins: ['*'], allow_method: [GET] }", "allow_method"),
    ] {
        let error = TestHost::<Cors>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}
