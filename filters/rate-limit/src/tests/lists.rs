//! Whom rules are about, and whom none is.

use fyke_sdk::testing::{Host, TestRequest};

use super::{host, of, passed, rule};
use crate::RateLimit;

#[test]
fn conditions_say_whom_a_rule_is_about() {
    for (condition, matches, misses) in [
        ("is: a", &["a"][..], &["b", "A", "aa", ""][..]),
        ("any_of: [a, b]", &["a", "b"], &["c", ""]),
        ("prefix: ab", &["ab", "abc"], &["a", "xab"]),
        ("regex: '^[0-9]+$'", &["1", "42"], &["", "4a"]),
        ("present: true", &["x"], &[""]),
        ("present: false", &[""], &["x"]),
        ("is: a, not: true", &["b", ""], &["a"]),
    ] {
        let mut host = rule(&format!("when: [{{ from: {{ request_header: x-tenant }}, {condition} }}], limit: 1/h"));
        assert_eq!(passed(&mut host, &of(matches[0]), 1), 1);
        for value in matches {
            assert_eq!(passed(&mut host, &of(value), 1), 0, "{condition} {value}");
        }
        for value in misses {
            assert_eq!(passed(&mut host, &of(value), 2), 2, "{condition} {value}");
        }
    }
}

#[test]
fn all_conditions_must_hold() {
    let mut host = rule("when: [{ from: method, is: POST }, { from: path, prefix: /api/ }], limit: 1/h");
    assert_eq!(passed(&mut host, &TestRequest::post("/api/a"), 3), 1);
    assert_eq!(passed(&mut host, &TestRequest::get("/api/a"), 3), 3);
    assert_eq!(passed(&mut host, &TestRequest::post("/"), 3), 3);
}

#[test]
fn lists_come_before_all_rules_and_the_one_that_allows_first() {
    let mut host = host(
        "
allow: [{ from: { request_header: x-tenant }, is: friend }]
deny: [{ from: { request_header: x-tenant }, any_of: [foe, friend] }]
rules: [{ name: r, limit: 1/h }]
answer: { deny_status: 451 }
",
    );
    assert_eq!(passed(&mut host, &of("friend"), 5), 5);
    let denied = host.send(of("foe"));
    assert_eq!((denied.status(), denied.body().bytes()), (451, &b"denied"[..]));
    assert!(!denied.reached_upstream());
    assert_eq!(passed(&mut host, &of("other"), 5), 1);
    assert_eq!(host.counter("rate_limit_listed_total", [("list", "allow")]), 5);
    assert_eq!(host.counter("rate_limit_listed_total", [("list", "deny")]), 1);
}

#[test]
fn networks_have_addresses_of_both_kinds() {
    let configuration = r#"{"deny":[{"from":"remote_address","networks":["10.0.0.0/8","2001:db8::/32","192.0.2.7"]}]}"#;
    let host = Host::<RateLimit>::configure(configuration).unwrap();
    for (address, denied) in [
        ("10.1.2.3:80", true),
        ("11.1.2.3:80", false),
        ("[2001:db8::1]:80", true),
        ("[2001:db9::1]:80", false),
        ("[::ffff:10.1.2.3]:80", true),
        ("192.0.2.7:1", true),
        ("192.0.2.8:1", false),
        ("@pipe", false),
    ] {
        let stream = host.open();
        host.stream(stream, |state| state.set_property("source.address", address));
        host.request_headers(stream, &[(":method", "GET"), (":path", "/")], true);
        assert_eq!(host.reply(stream).is_some(), denied, "{address}");
        host.finish(stream);
    }
}
