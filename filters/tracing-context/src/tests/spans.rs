//! What the host is told.

use super::*;

#[test]
fn the_host_gets_the_context_and_templates_for_attempts() {
    let proxy = Proxy::new(r#"{"inject": ["w3c", "b3", "b3_multi"]}"#);
    let sent = proxy.send(&[("traceparent", traceparent("03")), ("tracestate", "a=1, b=2".to_owned())]);
    let trace = sent.trace().unwrap();
    assert_eq!(hex(&trace.trace_id), TRACE);
    assert_eq!((hex(&trace.parent).as_str(), trace.sampled, trace.state.as_str()), (PARENT, true, "a=1,b=2"));
    let templates = [
        ["traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-", "-03"],
        ["b3", "4bf92f3577b34da6a3ce929d0e0e4736-", "-1"],
        ["x-b3-spanid", "", ""],
    ];
    assert_eq!(trace.templates, templates.map(|template| template.map(str::to_owned)));
    let span = hex(&trace.span_id);
    assert_eq!(sent.traceparent()[1], span, "until an attempt has its own");
    assert_eq!((sent.header("x-b3-spanid"), sent.header("x-b3-parentspanid")), (Some(span.clone()), Some(span)));
}

#[test]
fn a_trace_that_another_filter_began_is_left_alone() {
    let proxy = Proxy::new("{}");
    let stream = proxy.send(&[("traceparent", traceparent("01"))]).stream;
    let before = proxy.host.request_header(stream, "traceparent");
    let action = proxy.host.runtime().on_headers(fyke_sdk::abi::Side::Request, stream, true);
    assert_eq!(action, fyke_sdk::abi::Action::Continue);
    assert_eq!(proxy.host.request_header(stream, "traceparent"), before);
}

#[test]
fn tags_come_from_everywhere_with_their_types() {
    let configuration = r#"{
        "operation": "%{request.method} %{route_name}",
        "tags": {
            "environment": { "literal": "production" },
            "tenant": { "header": "X-Tenant", "default": "none" },
            "agent": { "header": "user-agent", "default": "none" },
            "missing": { "header": "x-missing" },
            "port": { "property": "source.port" },
            "mtls": { "property": "connection.mtls" },
            "shard": { "property": "route_metadata.shard" },
            "upstream": { "property": "upstream.address" },
            "status": { "property": "response.code" }
        }
    }"#;
    let proxy = Proxy::new(configuration);
    let stream = proxy.host.open();
    proxy.host.stream(stream, |state| {
        state.set_property("source.address", "10.0.0.1:4000");
        state.set_property("source.port", 4000_i64.to_le_bytes());
        state.set_property("connection.mtls", [1]);
        state.set_property("route_name", "users");
        state.set_property("route_metadata.shard", 7.5_f64.to_le_bytes());
    });
    proxy.host.request_headers(stream, &[(":method", "GET"), (":path", "/"), ("x-tenant", "blue")], true);
    proxy.host.stream(stream, |state| state.set_property("upstream.address", "10.9.9.9:80"));
    proxy.host.response_headers(stream, &[(":status", "204")], true);
    let spans = spans();
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((span.name(), span.is_stream()), ("GET users", true));
    assert_eq!((span.tag("environment"), span.tag("tenant")), (Some("production"), Some("blue")));
    assert_eq!((span.tag("agent"), span.tag::<&str>("missing")), (Some("none"), None));
    assert_eq!((span.tag("port"), span.tag("mtls"), span.tag("shard")), (Some(4000_i64), Some(true), Some(7.5)));
    assert_eq!((span.tag("upstream"), span.tag("status")), (Some("10.9.9.9:80"), Some(204_i64)));
}

#[test]
fn what_is_not_recorded_has_no_tags() {
    for (make, flags) in [(Proxy::new as fn(&str) -> Proxy, "00"), (Proxy::elsewhere, "01")] {
        let proxy = make(r#"{"tags": {"a": {"literal": "b"}, "c": {"property": "response.code"}}, "operation": "x"}"#);
        let sent = proxy.send(&[("traceparent", traceparent(flags))]);
        sent.answer(&[(":status", "200")]);
        assert!(spans().is_empty());
    }
}

#[test]
fn values_of_strangers_are_cut_and_made_legal() {
    let proxy =
        Proxy::new(r#"{"tags": {"agent": {"header": "user-agent"}}, "operation": "%{request.headers.x-name}"}"#);
    let agent = [b"\xff".as_slice(), &[b'a'; 5000]].concat();
    let name = [b"n".as_slice(), "é".repeat(500).as_bytes()].concat();
    let _ = proxy.send_bytes(&[("user-agent", &agent), ("x-name", &name)]);
    let spans = spans();
    let value: &str = spans[0].tag("agent").unwrap();
    assert!(value.starts_with("\u{fffd}aaa") && value.len() == 1024);
    assert_eq!(spans[0].name().len(), 255);
}

#[test]
fn a_route_has_its_own_share_and_name() {
    // A route's configuration is a plugin context of its own; each is configured as if it were alone.
    let quiet = Proxy::new(r#"{"sample": "0%", "operation": "health"}"#);
    assert!(!quiet.send::<&str, &str>(&[]).is_sampled());
    let loud = Proxy::new(r#"{"sample": "100%", "operation": "checkout", "tags": {"a": {"literal": "b"}}}"#);
    assert!(loud.send::<&str, &str>(&[]).is_sampled());
    assert_eq!(spans()[0].name(), "checkout");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}
