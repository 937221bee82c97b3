//! Limits of every kind.

use std::time::Duration;

use fyke_sdk::testing::{Ring, TestRequest, TestResponse};

use super::{header, host, of, passed, rule};

#[test]
fn a_rate_lets_through_what_it_says_and_then_one_at_a_time() {
    let mut host = rule("limit: 10/s");
    assert_eq!(passed(&mut host, &of("a"), 15), 10);
    host.advance(Duration::from_millis(100));
    assert_eq!(passed(&mut host, &of("a"), 5), 1);
    host.advance(Duration::from_secs(10));
    assert_eq!(passed(&mut host, &of("a"), 15), 10);
}

#[test]
fn each_key_has_its_own() {
    let mut host = rule("key: [{ from: { request_header: x-tenant } }], limit: 2/m");
    for tenant in ["a", "b", "c"] {
        assert_eq!(passed(&mut host, &of(tenant), 5), 2, "{tenant}");
    }
    // It is about nobody who has no key.
    assert_eq!(passed(&mut host, &TestRequest::get("/"), 5), 5);
    assert_eq!(passed(&mut host, &of(""), 5), 5);
}

#[test]
fn bursts_and_sustained_rates_hold_both() {
    let mut host = rule("limit: { rate: 10/s, burst: 3, sustained: 20/m }");
    assert_eq!(passed(&mut host, &of("a"), 5), 3);
    let mut all = 3;
    for _ in 0..20 {
        host.advance(Duration::from_millis(200));
        all += passed(&mut host, &of("a"), 5);
    }
    // 20, and what a minute's rate gives back in 4 s.
    assert_eq!(all, 21);
}

#[test]
fn quotas_end_with_the_calendars_minute() {
    let mut host = rule("limit: { quota: 5/m }");
    // Wherever in the minute this begins, the next one begins within 60 s.
    assert_eq!(passed(&mut host, &of("a"), 9), 5);
    let refused = host.send(of("a"));
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    host.advance(Duration::from_secs(wait));
    assert_eq!(passed(&mut host, &of("a"), 9), 5);
}

#[test]
fn no_more_at_the_same_time_than_allowed() {
    let mut host = rule("key: [{ from: { request_header: x-tenant } }], limit: { concurrency: 2, lease: 1m }");
    host.upstream(|request| if request.has_header("x-slow") { TestResponse::hang() } else { TestResponse::ok() });
    let first = host.start(of("a").header("x-slow", "1"));
    let second = host.start(of("a").header("x-slow", "1"));
    assert_eq!(passed(&mut host, &of("a"), 3), 0);
    assert_eq!(passed(&mut host, &of("b"), 3), 3);
    host.cancel(first);
    // One after the other they fit.
    assert_eq!(passed(&mut host, &of("a"), 3), 3);
    host.cancel(second);
}

#[test]
fn what_is_never_given_back_is_forgotten() {
    let mut host = rule("limit: { concurrency: 1, lease: 10s }");
    host.upstream(|_| TestResponse::hang());
    let held = host.start(of("a"));
    assert_eq!(host.send(of("a")).status(), 429);
    host.advance(Duration::from_secs(21));
    let other = host.start(of("a"));
    assert!(!host.is_done(&other));
    host.cancel(held);
    host.cancel(other);
}

#[test]
fn where_one_refuses_none_is_charged() {
    let mut host = host(
        "
rules:
  - { name: all, limit: 100/h }
  - { name: tenant, key: [{ from: { request_header: x-tenant } }], limit: 2/h }
",
    );
    assert_eq!(passed(&mut host, &of("a"), 50), 2);
    assert_eq!(passed(&mut host, &TestRequest::get("/"), 200), 98);
}

#[test]
fn the_most_specific_rule_wins() {
    let mut host = host(
        "
apply: most_specific
rules:
  - { name: all, limit: 1/h }
  - { name: tenant, key: [{ from: { request_header: x-tenant } }], limit: 2/h }
  - { name: gold, when: [{ from: { request_header: x-plan }, is: gold }], key: [{ from: { request_header: x-tenant } }], limit: 3/h }
",
    );
    assert_eq!(passed(&mut host, &of("a").header("x-plan", "gold"), 9), 3);
    assert_eq!(passed(&mut host, &of("a").header("x-plan", "tin"), 9), 2);
    assert_eq!(passed(&mut host, &TestRequest::get("/"), 9), 1);
}

#[test]
fn those_that_come_too_early_wait_in_line() {
    let mut host = rule("limit: { rate: 10/s, burst: 1, delay: 250ms }");
    assert_eq!(host.send(of("a")).status(), 200);
    let waiting = [host.start(of("a")), host.start(of("a"))];
    assert_eq!(host.gauge("rate_limit_delayed", []), 2);
    assert_eq!(host.send(of("a")).status(), 429, "the third would wait for 300 ms");
    host.advance(Duration::from_millis(100));
    assert!(host.is_done(&waiting[0]) && !host.is_done(&waiting[1]));
    host.advance(Duration::from_millis(100));
    for flight in waiting {
        assert!(host.finish(flight).reached_upstream());
    }
    assert_eq!(host.gauge("rate_limit_delayed", []), 0);
    assert_eq!(host.histogram_count("rate_limit_delay_milliseconds", []), 2);
}

#[test]
fn no_more_wait_than_may_and_those_that_may_not_are_not_charged() {
    let mut host = host("{ max_delayed: 1, rules: [{ name: r, limit: { rate: 10/s, burst: 1, delay: 10s } }] }");
    assert_eq!(host.send(of("a")).status(), 200);
    let waiting = host.start(of("a"));
    for _ in 0..5 {
        assert_eq!(host.send(of("a")).status(), 429);
    }
    // Had they been charged, it would take longer.
    host.advance(Duration::from_millis(200));
    assert!(host.finish(waiting).reached_upstream());
    assert_eq!(host.send(of("a")).status(), 200);
}

#[test]
fn a_client_that_leaves_while_it_waits_makes_room() {
    let mut host = host("{ max_delayed: 1, rules: [{ name: r, limit: { rate: 10/s, burst: 1, delay: 10s } }] }");
    assert_eq!(host.send(of("a")).status(), 200);
    let waiting = host.start(of("a"));
    host.cancel(waiting);
    assert_eq!(host.gauge("rate_limit_delayed", []), 0);
    let other = host.start(of("a"));
    host.advance(Duration::from_secs(1));
    assert!(host.finish(other).reached_upstream());
}

#[test]
fn a_new_configuration_goes_on_with_what_was_counted() {
    let mut host = rule("limit: 3/h");
    if host.ring() != Ring::Native {
        // The test bed begins anew.
        return;
    }
    assert_eq!(passed(&mut host, &of("a"), 2), 2);
    host.reload("rules: [{ name: r, limit: 3/h, near: 50% }]").unwrap();
    assert_eq!(passed(&mut host, &of("a"), 9), 1);
    // Another name is another count, and so is another domain.
    host.reload("rules: [{ name: other, limit: 3/h }]").unwrap();
    assert_eq!(passed(&mut host, &of("a"), 9), 3);
    host.reload("{ domain: d, rules: [{ name: r, limit: 3/h }] }").unwrap();
    assert_eq!(passed(&mut host, &of("a"), 9), 3);
}

#[test]
fn a_shadow_refuses_nobody_and_says_whom_it_would() {
    let mut host = rule("limit: 2/h, shadow: true");
    assert_eq!(passed(&mut host, &of("a"), 5), 5);
    for (outcome, count) in [("ok", 2), ("shadow", 3), ("over", 0)] {
        assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", outcome)]), count, "{outcome}");
    }
    assert!(!host.send(of("a")).has_header("ratelimit"));
}

#[test]
fn a_share_of_the_keys_is_refused_and_the_rest_only_counted() {
    let mut host = rule("key: [{ from: { request_header: x-tenant } }], limit: 1/h, rollout: 30%");
    let tenants: Vec<String> = (0..300).map(|tenant| tenant.to_string()).collect();
    let mut limited = 0;
    for tenant in &tenants {
        let passed = passed(&mut host, &of(tenant), 3);
        assert!(passed == 1 || passed == 3);
        limited += usize::from(passed == 1);
    }
    assert!((60..120).contains(&limited), "{limited}");
}

#[test]
fn without_a_key_the_share_is_one_of_streams() {
    let mut host = rule("limit: 1/h, rollout: 30%");
    let passed = passed(&mut host, &of("a"), 201);
    // Of the 200 that are over the limit, a mean of 60 with a standard deviation of 6.5 is refused: seven of them on each side.
    assert!((95..=187).contains(&passed), "{passed}");
}

#[test]
fn a_long_key_has_the_same_lot_in_every_process() {
    let tenants: Vec<String> = (0..60).map(|tenant| format!("{tenant}-{}", "x".repeat(300))).collect();
    let lots = || {
        let mut host = rule("key: [{ from: { request_header: x-tenant } }], limit: 1/h, rollout: 50%");
        tenants.iter().map(|tenant| passed(&mut host, &of(tenant), 2) == 1).collect::<Vec<_>>()
    };
    let first = lots();
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(lots(), first);
}
