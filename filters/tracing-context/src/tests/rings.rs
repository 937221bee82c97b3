//! Tests in all rings.

use fyke_sdk::testing::{Outcome, Ring, TestHost, TestRequest};

use crate::TracingContext;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn host(configuration: &str) -> TestHost<TracingContext> {
    TestHost::configure(configuration).unwrap()
}

/// The fields of the only `traceparent` that the upstream got.
#[track_caller]
fn traceparent(out: &Outcome) -> Vec<String> {
    let values = out.upstream().values("traceparent");
    assert_eq!(values.len(), 1, "{out:?}");
    let fields: Vec<String> = values[0].to_string().split('-').map(str::to_owned).collect();
    assert_eq!(fields.iter().map(String::len).collect::<Vec<_>>(), [2, 32, 16, 2], "{out:?}");
    fields
}

#[test]
fn a_trace_goes_on_with_a_new_span() {
    let mut host = host("{ trust: always, response_header: x-trace-id }");
    let request = TestRequest::get("/")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("tracestate", "a=1")
        .header("tracestate", "b=2")
        .header("baggage", "c=3");
    let out = host.send(request);
    let fields = traceparent(&out);
    assert_eq!((fields[1].as_str(), fields[3].as_str()), (TRACE, "01"));
    assert_ne!(fields[2], PARENT);
    assert_eq!(out.upstream().values("tracestate"), ["a=1,b=2"]);
    assert_eq!(out.upstream().values("baggage"), ["c=3"]);
    assert_eq!(out.header("x-trace-id"), TRACE);
}

#[test]
fn a_trace_begins_where_there_is_none() {
    let mut host = host("{ sample: 100% }");
    let (first, second) =
        (traceparent(&host.send(TestRequest::get("/"))), traceparent(&host.send(TestRequest::get("/"))));
    assert_ne!(first[1], second[1]);
    assert_eq!((first[3].as_str(), second[3].as_str()), ("03", "03"));
}

#[test]
fn b3_goes_on_as_b3() {
    let mut host = host("{ trust: always }");
    let out = host.send(TestRequest::get("/").header("b3", format!("{TRACE}-{PARENT}-1")));
    let value = out.upstream().header("b3").to_string();
    assert!(value.starts_with(TRACE) && value.ends_with("-1") && !value.contains(PARENT), "{value}");
    assert!(!out.upstream().has_header("traceparent"));
    let request =
        TestRequest::get("/").header("x-b3-traceid", TRACE).header("x-b3-spanid", PARENT).header("x-b3-sampled", "0");
    let out = host.send(request);
    assert_eq!(out.upstream().values("x-b3-traceid"), [TRACE]);
    assert_eq!(out.upstream().values("x-b3-sampled"), ["0"]);
    assert_ne!(out.upstream().header("x-b3-spanid"), PARENT);
}

#[test]
fn who_is_not_trusted_decides_nothing() {
    let mut host = host("{ trust: never, sample: 0% }");
    let request = TestRequest::get("/")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("x-envoy-force-trace", "1");
    let out = host.send(request);
    let fields = traceparent(&out);
    assert_ne!(fields[1], TRACE);
    assert_eq!(fields[3], "02");
    assert!(!out.upstream().has_header("x-envoy-force-trace"));
}

#[test]
fn each_attempt_is_a_span_below_the_streams() {
    let mut host = host("{ trust: always, operation: checkout, tags: { tenant: { header: x-tenant } } }");
    let request =
        TestRequest::get("/").header("traceparent", format!("00-{TRACE}-{PARENT}-01")).header("x-tenant", "blue");
    let out = host.send(request);
    assert_eq!(traceparent(&out)[1], TRACE);
    if host.ring() == Ring::Native {
        let spans = host.spans();
        assert_eq!((spans[0].name(), spans[0].tag("tenant")), ("checkout", Some("blue")));
    }
}

#[test]
fn mistakes_are_refused() {
    for (configuration, path) in [("trust: some", "trust"), ("sample: 5", "sample"), ("inject: [zipkin]", "inject[0]")]
    {
        let error = TestHost::<TracingContext>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}
