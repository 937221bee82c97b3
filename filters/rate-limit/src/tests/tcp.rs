//! Connections.

use std::time::Duration;

use fyke_sdk::testing::{GrpcAnswer, TcpTestHost};
use prost::Message as _;

use crate::RateLimit;
use crate::messages::RateLimitResponse;

fn host(configuration: &str) -> TcpTestHost<RateLimit> {
    TcpTestHost::configure(configuration).unwrap()
}

/// How many of so many connections, each closed before the next, are let in.
fn let_in(host: &mut TcpTestHost<RateLimit>, count: usize) -> usize {
    let connect = |_: &usize| {
        let connection = host.connect();
        let open = host.is_open(&connection);
        host.close(connection);
        open
    };
    (0..count).filter(connect).count()
}

#[test]
fn connections_are_limited_by_their_rate() {
    let mut host = host("rules: [{ name: r, key: [{ from: remote_address }], limit: 3/m }]");
    assert_eq!(let_in(&mut host, 5), 3);
    host.advance(Duration::from_secs(20));
    assert_eq!(let_in(&mut host, 5), 1);
    assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "over")]), 6);
}

#[test]
fn connections_are_limited_by_how_many_there_are() {
    let mut host = host("rules: [{ name: r, key: [{ from: masked_address }], limit: { concurrency: 2 } }]");
    let (one, other, third) = (host.connect(), host.connect(), host.connect());
    assert!(host.is_open(&one) && host.is_open(&other) && !host.is_open(&third));
    host.close(third);
    host.close(one);
    assert_eq!(let_in(&mut host, 3), 3);
    host.close(other);
}

#[test]
fn what_only_requests_have_yields_nothing() {
    let mut host = host("rules: [{ name: r, key: [{ from: { request_header: x } }], limit: 1/h }]");
    assert_eq!(let_in(&mut host, 3), 3);
}

#[test]
fn denied_connections_are_closed() {
    let mut host = host("deny: [{ from: remote_address, networks: [127.0.0.0/8] }]");
    assert_eq!(let_in(&mut host, 2), 0);
}

#[test]
fn connections_wait_in_line() {
    let mut host = host("rules: [{ name: r, limit: { rate: 10/s, burst: 1, delay: 1s } }]");
    let first = host.connect();
    let second = host.connect();
    host.client_sends(&second, "hello");
    assert_eq!(host.upstream_got(&second), "");
    host.advance(Duration::from_millis(150));
    assert_eq!(host.upstream_got(&second), "hello");
    host.close(first);
    host.close(second);
}

#[test]
fn a_service_may_be_asked_about_connections() {
    let mut host = host(
        "{ domain: d, global: { cluster: rl }, rules: [{ name: r, key: [{ from: remote_address }], global: true }] }",
    );
    let mut asked = 0;
    host.grpc("rl", move |_| {
        asked += 1;
        let answer = RateLimitResponse { overall_code: if asked > 2 { 2 } else { 1 }, ..RateLimitResponse::default() };
        GrpcAnswer::message(answer.encode_to_vec())
    });
    assert_eq!(let_in(&mut host, 4), 2);
}
