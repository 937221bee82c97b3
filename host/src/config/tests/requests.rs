//! `tests:`

use super::{problem, yaml};
use crate::config::resolved::{Expected, Seen};

fn with(tests: &str) -> String {
    format!(
        "listeners: {{ w: {{ address: 127.0.0.1:0, cluster: c }}, t: {{ address: 127.0.0.1:0, protocol: tcp, cluster: c }} }}\nclusters: {{ c: {{ endpoints: [] }}, d: {{ endpoints: [] }} }}\ntests:\n  - {tests}\n"
    )
}

#[test]
fn what_is_left_out_is_the_ordinary_request() {
    let config = yaml(&with("{ name: a, request: {}, expect: { status: 2xx } }")).unwrap();
    let test = &config.tests[0];
    let request = &test.request;
    assert_eq!((request.listener.as_str(), request.method.as_str(), request.target.path()), ("w", "GET", "/"));
    assert_eq!((request.host.as_str(), &request.tls, request.http2), ("localhost", &None, false));
    assert_eq!((request.from.ip().to_string().as_str(), test.count, test.timeout.as_secs()), ("127.0.0.1", 1, 10));
}

#[test]
fn each_expectation_knows_where_it_was_written() {
    let config = yaml(&with(
        "{ name: a, request: { headers: { x: [a, b] } }, upstreams: { c: [{ status: 503 }, {}], d: { delay: 5ms } }, expect: { status: 404, headers: [{ name: X-A, prefix: b }], upstreams: { d: { requests: 0 } } } }",
    ))
    .unwrap();
    let test = &config.tests[0];
    assert_eq!(test.request.headers.get_all("x").iter().count(), 2);
    assert_eq!((test.upstreams["c"].len(), test.upstreams["d"][0].delay.as_millis()), (2, 5));
    let paths: Vec<&str> = test.expectations.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["status", "headers[0]", "upstreams.d.requests"]);
    assert!(test.expectations.iter().all(|one| one.origin.line == 4 && one.origin.column > 1));
    assert!(matches!(&test.expectations[1].what, Expected::Header(condition) if condition.name == "x-a"));
    assert!(
        matches!(&test.expectations[2].what, Expected::Upstream(Some(cluster), Seen::Requests(0)) if cluster == "d")
    );
}

#[test]
fn tests_do_not_make_another_generation() {
    let one = yaml(&with("{ name: a, request: {}, expect: { status: 200 } }")).unwrap();
    let other = yaml(&with("{ name: b, request: {}, expect: { status: 404 } }")).unwrap();
    assert_eq!(one.rest, other.rest);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (test, words) in [
        ("{ name: \" \", request: {}, expect: { status: 200 } }", "a test needs a name"),
        ("{ name: a, request: { listener: t }, expect: { status: 200 } }", "`protocol: tcp`"),
        ("{ name: a, request: { method: CONNECT }, expect: { status: 200 } }", "\"CONNECT\" is not a method"),
        ("{ name: a, request: { host: \"u@h\" }, expect: { status: 200 } }", "\"u@h\" is not a host"),
        ("{ name: a, request: { sni: a.b }, expect: { status: 200 } }", "has no certificates"),
        ("{ name: a, request: { headers: { Host: x } }, expect: { status: 200 } }", "is a key of its own"),
        ("{ name: a, request: {}, upstreams: { c: [] }, expect: { status: 200 } }", "no answer is none"),
        ("{ name: a, request: {}, expect: { route: {} } }", "this asks nothing"),
        ("{ name: a, request: {}, expect: { headers: [{ name: x, present: true, absent: true }] } }", "say the same"),
        ("{ name: a, request: {}, timeout: 0s, expect: { status: 200 } }", "this cannot be zero"),
    ] {
        let (message, help) = problem(&with(test));
        assert!(message.contains(words) || help.contains(words), "{test}: {message} ({help})");
    }
}
