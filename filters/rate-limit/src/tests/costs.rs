//! How much something counts.

use fyke_sdk::testing::{Host, TestHost, TestRequest, TestResponse};

use super::{of, passed, rule};
use crate::RateLimit;

fn with(value: &str) -> TestRequest {
    TestRequest::get("/").header("x-cost", value)
}

#[test]
fn a_request_may_count_as_several() {
    let mut host = rule("limit: 10/h, cost: 3");
    assert_eq!(passed(&mut host, &of("a"), 9), 3);
}

#[test]
fn a_header_says_how_much() {
    let mut host = rule("limit: 100/h, cost: { from: { request_header: x-cost }, minimum: 10, maximum: 60 }");
    assert_eq!(passed(&mut host, &with("45"), 1), 1);
    // Not a number, negative, and none: the least.
    for value in ["x", "-5", "", "1.5"] {
        assert_eq!(passed(&mut host, &with(value), 1), 1, "{value}");
    }
    assert_eq!(passed(&mut host, &with("15"), 1), 1);
    assert_eq!(passed(&mut host, &with("1"), 1), 0);
    // Too much is the most.
    let mut host = rule("limit: 100/h, cost: { from: { request_header: x-cost }, maximum: 60 }");
    assert_eq!(passed(&mut host, &with("99999999999999999999999999"), 1), 1);
    assert_eq!(passed(&mut host, &with("40"), 1), 1);
    assert_eq!(passed(&mut host, &with("1"), 1), 0);
}

#[test]
fn bytes_count_by_the_length_that_is_said() {
    let mut host = rule("limit: 10/h, cost: { from: request_size, per: 1k }");
    let sized = |size: usize| TestRequest::post("/").body("x".repeat(size));
    assert_eq!(passed(&mut host, &sized(4_500), 1), 1);
    assert_eq!(passed(&mut host, &sized(6_000), 1), 0);
    assert_eq!(passed(&mut host, &sized(4_001), 1), 1);
    assert_eq!(passed(&mut host, &of("a"), 2), 0);
}

/// A stream that ends with these properties; whether it was refused.
fn stream(host: &Host<RateLimit>, headers: &[(&str, &str)], answer: &[(&str, &str)], sizes: [i64; 2]) -> bool {
    let stream = host.open();
    host.request_headers(stream, &[&[(":method", "POST"), (":path", "/")], headers].concat(), false);
    let refused = host.reply(stream).is_some();
    if !refused {
        host.response_headers(stream, &[&[(":status", "200")], answer].concat(), true);
        host.stream(stream, |state| {
            state.set_property("request.size", sizes[0].to_le_bytes());
            state.set_property("response.size", sizes[1].to_le_bytes());
        });
    }
    host.finish(stream);
    refused
}

fn raw(cost: &str) -> Host<RateLimit> {
    let rule = format!(r#"{{"name":"r","limit":"100/h","cost":{{"from":{cost}}}}}"#);
    Host::configure(&format!("{{\"rules\":[{rule}]}}")).unwrap()
}

#[test]
fn what_is_known_at_the_end_is_charged_then() {
    let host = raw(r#""response_size""#);
    assert!(!stream(&host, &[], &[], [7, 60]));
    assert!(!stream(&host, &[], &[], [7, 60]));
    assert!(stream(&host, &[], &[], [7, 0]));
    // A body without a length.
    let host = raw(r#""request_size""#);
    assert!(!stream(&host, &[], &[], [150, 0]));
    assert!(stream(&host, &[], &[], [1, 0]));
    let host = raw(r#"{"response_header":"x-cost"}"#);
    assert!(!stream(&host, &[], &[("x-cost", "99")], [0, 0]));
    assert!(!stream(&host, &[], &[], [0, 0]));
    assert!(stream(&host, &[], &[], [0, 0]));
}

#[test]
fn a_refused_request_is_not_charged_at_its_end() {
    let rules = r#"{"rules":[{"name":"late","limit":"100/h","cost":{"from":"response_size"}},{"name":"now","when":[{"from":{"request_header":"x"},"is":"1"}],"limit":"1/h"}]}"#;
    let host = Host::<RateLimit>::configure(rules).unwrap();
    assert!(!stream(&host, &[("x", "1")], &[], [0, 10]));
    for _ in 0..300 {
        assert!(stream(&host, &[("x", "1")], &[], [0, 0]));
    }
    assert!(!stream(&host, &[], &[], [0, 10]));
}

#[test]
fn the_answers_header_counts_in_every_ring() {
    let mut host: TestHost<RateLimit> = rule("limit: 10/h, cost: { from: { response_header: x-cost } }");
    host.upstream(|_| TestResponse::ok().header("x-cost", "5"));
    assert_eq!(passed(&mut host, &of("a"), 5), 2);
}
