//! What is counted.

use std::time::Duration;

use fyke_sdk::testing::TestRequest;

use super::{of, passed, rule};

#[test]
fn each_rule_counts_what_became_of_requests() {
    let mut host = rule("limit: 10/h");
    assert_eq!(passed(&mut host, &of("a"), 15), 10);
    for (outcome, count) in [("ok", 7), ("near", 3), ("over", 5), ("shadow", 0), ("error", 0)] {
        assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", outcome)]), count, "{outcome}");
    }
}

#[test]
fn what_is_near_is_said_by_the_rule() {
    let mut host = rule("limit: 10/h, near: 50%");
    assert_eq!(passed(&mut host, &of("a"), 10), 10);
    assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "near")]), 6);
}

#[test]
fn the_busiest_keys_are_shown_and_forgotten() {
    let mut host = rule("key: [{ from: { request_header: x-tenant } }, { from: method }], limit: 1k/h, top: 2");
    host.advance(Duration::from_millis(10));
    for (tenant, count) in [("a", 9), ("b", 5), ("c", 1)] {
        passed(&mut host, &of(tenant), count);
    }
    let shown = |host: &fyke_sdk::testing::TestHost<crate::RateLimit>, key: &str| {
        host.gauge("rate_limit_top_requests", [("rule", "r"), ("key", key)])
    };
    host.advance(Duration::from_secs(10));
    assert_eq!((shown(&host, "a|GET"), shown(&host, "b|GET"), shown(&host, "c|GET")), (9, 5, 0));
    passed(&mut host, &of("c"), 20);
    host.advance(Duration::from_secs(10));
    assert_eq!((shown(&host, "a|GET"), shown(&host, "b|GET"), shown(&host, "c|GET")), (4, 0, 20));
    host.advance(Duration::from_secs(100));
    assert_eq!((shown(&host, "a|GET"), shown(&host, "c|GET")), (0, 0));
}

#[test]
fn long_keys_are_shown_cut() {
    let mut host = rule("key: [{ from: { request_header: x-tenant } }], limit: 1k/h, top: 1");
    host.advance(Duration::from_millis(10));
    let _ = host.send(TestRequest::get("/").header("x-tenant", "é".repeat(500)));
    host.advance(Duration::from_secs(10));
    let key = format!("{}...", "é".repeat(30));
    assert_eq!(host.gauge("rate_limit_top_requests", [("rule", "r"), ("key", &key)]), 1);
}
