//! In all rings.

use std::time::Duration;

use fyke_sdk::testing::{Ring, TestHost, TestRequest};

use crate::Fault;

fn host(configuration: &str) -> TestHost<Fault> {
    TestHost::configure(configuration).unwrap()
}

#[test]
fn an_abort_answers_in_the_upstreams_place() {
    let mut host = host("abort: { status: 503, body: broken }");
    let out = host.send(TestRequest::get("/"));
    assert_eq!((out.status(), out.body().bytes()), (503, &b"broken"[..]));
    assert!(!out.reached_upstream());
    assert_eq!(host.counter("fault_total", [("kind", "abort")]), 1);
}

#[test]
fn a_delay_is_as_long_as_it_says() {
    let mut host = host("delay: { duration: 2s }");
    let flight = host.start(TestRequest::get("/"));
    assert_eq!(host.gauge("fault_active_delays", []), 1);
    host.advance(Duration::from_millis(1500));
    assert!(!host.is_done(&flight));
    host.advance(Duration::from_millis(600));
    assert!(host.finish(flight).reached_upstream());
    assert_eq!(host.gauge("fault_active_delays", []), 0);
    assert_eq!(host.counter("fault_total", [("kind", "delay")]), 1);
}

#[test]
fn only_the_requests_that_are_meant() {
    let mut host = host("{ abort: { status: 500 }, headers: { x-tenant: test } }");
    assert_eq!(host.send(TestRequest::get("/")).status(), 200);
    assert_eq!(host.send(TestRequest::get("/").header("x-tenant", "real")).status(), 200);
    assert_eq!(host.send(TestRequest::get("/").header("x-tenant", "test")).status(), 500);
}

#[test]
fn requests_may_ask_where_they_are_allowed_to() {
    let mut host = host("by_header: true");
    assert_eq!(host.send(TestRequest::get("/").header("x-fault-abort", "418")).status(), 418);
    for nonsense in ["", "99", "600", "abc", "-1"] {
        assert_eq!(host.send(TestRequest::get("/").header("x-fault-abort", nonsense)).status(), 200, "{nonsense}");
    }
    let flight = host.start(TestRequest::get("/").header("x-fault-delay", "1s").header("x-fault-abort", "504"));
    assert!(!host.is_done(&flight));
    host.advance(Duration::from_millis(1010));
    assert_eq!(host.finish(flight).status(), 504);
}

#[test]
fn requests_may_not_ask_where_they_are_not() {
    let out = host("{}").send(TestRequest::get("/").header("x-fault-abort", "418"));
    assert_eq!(out.status(), 200);
}

#[test]
fn a_fraction_is_a_fraction() {
    let mut host = host("abort: { status: 500, fraction: 30% }");
    let aborted = (0..400).filter(|_| host.send(TestRequest::get("/")).status() == 500).count();
    // Mean 120, standard deviation 9.2: six of them on each side.
    assert!((65..=175).contains(&aborted), "{aborted}");
    assert_eq!(host.counter("fault_total", [("kind", "abort")]), i64::try_from(aborted).unwrap());
}

#[test]
fn zero_percent_is_none_and_a_client_that_leaves_frees_its_place() {
    let mut host = host("{ delay: { duration: 10s }, abort: { status: 500, fraction: 0% }, max_active: 1 }");
    let first = host.start(TestRequest::get("/"));
    assert_eq!(host.send(TestRequest::get("/")).status(), 200, "above the maximum nobody waits");
    assert_eq!(host.counter("fault_total", [("kind", "overflow")]), 1);
    host.cancel(first);
    assert_eq!(host.gauge("fault_active_delays", []), 0);
    let second = host.start(TestRequest::get("/"));
    assert!(!host.is_done(&second));
    host.cancel(second);
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [
        ("abort: { status: 99 }", "abort.status"),
        ("abort: {}", "abort"),
        ("delay: { duration: 5 }", "delay.duration"),
        ("delay: { duration: 1s, fraction: 120% }", "delay.fraction"),
        ("headers: { 'a b': c }", "headers"),
        ("delays: {}", "delays"),
    ] {
        let error = TestHost::<Fault>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}

#[test]
fn a_stream_keeps_the_configuration_with_which_it_began() {
    let mut host = host("delay: { duration: 2s }");
    let old = host.start(TestRequest::get("/"));
    host.reload("abort: { status: 500 }").unwrap();
    assert_eq!(host.send(TestRequest::get("/")).status(), 500);
    assert!(!host.is_done(&old));
    host.advance(Duration::from_millis(2100));
    assert_eq!(host.finish(old).status(), 200);
}

#[test]
fn what_is_due_is_due_and_not_a_millisecond_later() {
    let mut host = host("delay: { duration: 200ms }");
    if host.ring() == Ring::Envoy {
        return;
    }
    for parts in [&[199, 1][..], &[100, 100], &[200], &[1, 199], &[0, 200]] {
        let flight = host.start(TestRequest::get("/"));
        for part in parts {
            assert!(!host.is_done(&flight), "{parts:?}");
            host.advance(Duration::from_millis(*part));
        }
        assert!(host.is_done(&flight), "{parts:?}");
        assert_eq!(host.finish(flight).status(), 200);
    }
}
