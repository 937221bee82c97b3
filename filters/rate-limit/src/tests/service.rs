//! Global limits, by a service of Envoy's protocol.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fyke_sdk::testing::{GrpcAnswer, TestHost, TestRequest};
use prost::Message as _;

use super::{header, host, of, passed};
use crate::RateLimit;
use crate::messages::{
    CurrentLimit, DescriptorStatus, Duration as Time, HeaderValue, RateLimitRequest, RateLimitResponse,
};

const CONFIGURATION: &str = "
domain: shop
global: { cluster: rl }
rules:
  - { name: tenant, key: [{ from: { request_header: x-tenant } }, { from: path, as: where }], global: true, limit: 100/m }
";

fn status(code: i32, remaining: u32) -> DescriptorStatus {
    DescriptorStatus {
        code,
        current_limit: Some(CurrentLimit { requests_per_unit: 10, unit: 2 }),
        limit_remaining: remaining,
        duration_until_reset: Some(Time { seconds: 30, nanos: 1 }),
    }
}

fn pair(key: &str, value: &str) -> HeaderValue {
    HeaderValue { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() }
}

type Asked = Rc<RefCell<Vec<RateLimitRequest>>>;

/// A service that answers all alike, and what it was asked.
fn answers(host: &mut TestHost<RateLimit>, answer: RateLimitResponse) -> Asked {
    let asked = Asked::default();
    let heard = Rc::clone(&asked);
    host.grpc("rl", move |call| {
        assert_eq!(call.path(), "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
        heard.borrow_mut().push(RateLimitRequest::decode(call.messages()[0].as_slice()).unwrap());
        GrpcAnswer::message(answer.encode_to_vec())
    });
    asked
}

fn over(overall_code: i32, statuses: Vec<DescriptorStatus>) -> RateLimitResponse {
    RateLimitResponse { overall_code, statuses, ..RateLimitResponse::default() }
}

#[test]
fn it_is_told_what_envoy_would_tell_it() {
    let mut host = host(CONFIGURATION);
    let asked = answers(&mut host, over(1, vec![status(1, 7)]));
    let passed = host.send(TestRequest::get("/a?b").header("x-tenant", "blue"));
    assert_eq!(passed.status(), 200);
    assert_eq!(header(&passed, "ratelimit-policy").as_deref(), Some("\"tenant\";q=10;w=60"));
    assert_eq!(header(&passed, "ratelimit").as_deref(), Some("\"tenant\";r=7;t=31"));
    let asked = asked.borrow();
    assert_eq!((asked.len(), asked[0].domain.as_str(), asked[0].hits_addend), (1, "shop", 1));
    let descriptor = &asked[0].descriptors[0];
    let entries: Vec<(&str, &str)> =
        descriptor.entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
    assert_eq!(entries, [("x-tenant", "blue"), ("where", "/a")]);
    let limit = descriptor.limit.unwrap();
    assert_eq!((limit.requests_per_unit, limit.unit), (100, 2));
}

#[test]
fn nobody_is_asked_about_what_no_rule_is_about() {
    let mut host = host(CONFIGURATION);
    let asked = answers(&mut host, over(2, Vec::new()));
    assert_eq!(passed(&mut host, &TestRequest::get("/"), 2), 2);
    assert!(asked.borrow().is_empty());
}

#[test]
fn what_it_refuses_is_refused_with_what_it_says() {
    let mut host = host(CONFIGURATION);
    let answer = RateLimitResponse {
        response_headers_to_add: vec![pair("x-from", "service"), pair("bad name", "x"), pair("x-bad", "a\nb")],
        raw_body: b"slower".to_vec(),
        ..over(2, vec![status(2, 0)])
    };
    answers(&mut host, answer);
    let refused = host.send(of("blue"));
    assert_eq!((refused.status(), refused.body().bytes()), (429, &b"slower"[..]));
    assert_eq!(header(&refused, "retry-after").as_deref(), Some("31"));
    assert_eq!(header(&refused, "x-from").as_deref(), Some("service"));
    assert!(!refused.has_header("x-bad"));
    assert_eq!(host.counter("rate_limit_total", [("rule", "tenant"), ("outcome", "over")]), 1);
    assert_eq!(host.histogram_count("rate_limit_service_microseconds", [("rule", "tenant")]), 1);
}

#[test]
fn headers_are_added_both_ways_but_for_those_that_must_not() {
    let mut host = host(CONFIGURATION);
    let answer = RateLimitResponse {
        response_headers_to_add: vec![pair("x-left", "3")],
        request_headers_to_add: vec![pair("x-class", "b"), pair(":path", "/evil"), pair("x y", "z")],
        ..over(1, Vec::new())
    };
    answers(&mut host, answer);
    let passed = host.send(of("blue"));
    assert_eq!(passed.upstream().header("x-class"), "b");
    assert_eq!(passed.upstream().path(), "/");
    assert_eq!(header(&passed, "x-left").as_deref(), Some("3"));
}

#[test]
fn costs_go_along() {
    let cost = "cost: { from: { request_header: x-cost } }";
    let mut host = host(&format!(
        "
domain: shop
global: {{ cluster: rl, domain: other }}
rules:
  - {{ name: a, key: [{{ from: method }}], global: true, {cost} }}
  - {{ name: b, when: [{{ from: path, is: /two }}], key: [{{ from: {{ value: v }} }}], global: true, cost: 2 }}
"
    ));
    let asked = answers(&mut host, over(1, Vec::new()));
    for path in ["/one", "/two"] {
        let _ = host.send(TestRequest::get(path).header("x-cost", "5"));
    }
    let asked = asked.borrow();
    assert_eq!(
        (asked[0].domain.as_str(), asked[0].hits_addend, asked[0].descriptors[0].hits_addend),
        ("other", 5, None)
    );
    assert_eq!(asked[1].hits_addend, 0);
    let costs: Vec<u64> = asked[1].descriptors.iter().map(|one| one.hits_addend.unwrap().value).collect();
    assert_eq!(costs, [5, 2]);
    assert_eq!(asked[1].descriptors[1].entries[0].key, "generic_key");
    assert_eq!(asked[1].descriptors[1].limit, None);
}

#[test]
fn a_shadow_is_asked_about_and_has_no_say() {
    let mut host = host(&CONFIGURATION.replace("global: true", "global: true, shadow: true"));
    answers(&mut host, over(2, vec![status(2, 0)]));
    assert_eq!(passed(&mut host, &of("blue"), 2), 2);
    assert_eq!(host.counter("rate_limit_total", [("rule", "tenant"), ("outcome", "shadow")]), 2);
}

#[test]
fn what_it_refuses_is_given_back_to_local_limits() {
    let mut host = host(&format!("{CONFIGURATION}  - {{ name: local, limit: 2/h }}\n"));
    answers(&mut host, over(2, vec![status(2, 0)]));
    assert_eq!(passed(&mut host, &of("blue"), 5), 0);
    assert_eq!(passed(&mut host, &TestRequest::get("/"), 5), 2);
    // And it is not asked about what they refuse.
    let asked = answers(&mut host, over(1, Vec::new()));
    assert_eq!(passed(&mut host, &of("blue"), 5), 0);
    assert!(asked.borrow().is_empty());
}

fn failing(mode: &str, answer: GrpcAnswer) -> TestHost<RateLimit> {
    let configuration = CONFIGURATION.replace("cluster: rl", &format!("cluster: rl, {mode}"));
    let mut host = host(&configuration.replace("100/m", "2/h"));
    host.grpc("rl", move |_| answer.clone());
    host
}

#[test]
fn what_cannot_be_asked_is_decided_by_the_mode() {
    let broken = || GrpcAnswer::status(14, "gone");
    let garbage = || GrpcAnswer::message(b"\xff\xff\xff");
    let modes = [
        ("failure_mode: open", 5),
        ("failure_mode: closed", 0),
        ("failure_mode: local", 2),
        ("failure_mode: local, peers: 2", 1),
    ];
    for (mode, count) in modes {
        for answer in [broken(), garbage()] {
            let mut host = failing(mode, answer);
            assert_eq!(passed(&mut host, &of("blue"), 5), count, "{mode}");
            assert_eq!(host.counter("rate_limit_total", [("rule", "tenant"), ("outcome", "error")]), 5);
        }
    }
}

#[test]
fn nobody_waits_longer_than_the_timeout() {
    for (timeout, milliseconds) in [("timeout: 50ms", 50), ("failure_mode: open", 20)] {
        let mut host = failing(timeout, GrpcAnswer::hang());
        let flight = host.start(of("blue"));
        host.advance(Duration::from_millis(milliseconds - 1));
        assert!(!host.is_done(&flight));
        host.advance(Duration::from_millis(2));
        assert!(host.finish(flight).reached_upstream());
    }
}
