//! Spans in every state of the host.

use std::time::Duration;

use super::*;
use crate::testing::{TestHost, TestRequest, Tracing, World};
use crate::{ConfigError, Env, Flow, HttpFilter, Request, Response, Result, http_filter, sleep};

fn world(prepare: impl FnOnce(&mut World)) {
    World::reset();
    World::with(|world| {
        world.stream_mut(1);
        prepare(world);
    });
}

fn context(sampled: bool) -> TraceContext {
    TraceContext {
        trace_id: TraceId::parse(b"0af7651916cd43dd8448eb211c80319c").unwrap(),
        parent: SpanId::parse(b"b7ad6b7169203331"),
        sampled,
        state: "a=1".to_owned(),
    }
}

#[test]
fn tags_have_the_types_of_their_values() {
    world(|_| {});
    let spans = span("work");
    spans.tag("text", "a").tag("owned", String::from("b")).tag("bytes", &b"c\xff"[..]).tag("yes", true);
    spans.tag("integer", 7_u16).tag("large", u64::MAX).tag("number", 0.5).tag("text", "again");
    spans.end();
    let recorded = World::with(|world| world.spans.clone());
    let [span] = recorded.as_slice() else { panic!("{recorded:?}") };
    assert_eq!((span.name(), span.has_ended(), span.error(), span.is_stream()), ("work", true, None, false));
    assert_eq!((span.tag("text"), span.tag("owned"), span.tag("bytes")), (Some("again"), Some("b"), Some("c\u{fffd}")));
    assert_eq!((span.tag("yes"), span.tag("number")), (Some(true), Some(0.5)));
    assert_eq!((span.tag("integer"), span.tag("large")), (Some(7_i64), Some(i64::MAX)));
    assert_eq!(span.tag::<bool>("text"), None);
    assert_eq!(span.tags().len(), 7);
}

#[test]
fn an_error_without_text_is_still_an_error() {
    world(|_| {});
    let one = span("one");
    one.error("");
    drop(one);
    let two = span("two");
    two.error("first");
    two.error(crate::Error::new("last"));
    drop(two);
    let errors =
        World::with(|world| world.spans.iter().map(|span| span.error().map(str::to_owned)).collect::<Vec<_>>());
    assert_eq!(errors, [Some("error".to_owned()), Some("last".to_owned())]);
}

#[test]
fn the_streams_own_span_takes_tags_and_a_name() {
    world(|_| {});
    stream_span().tag("user", "alice").name("checkout");
    let recorded = World::with(|world| world.spans.clone());
    assert_eq!(
        (recorded[0].name(), recorded[0].is_stream(), recorded[0].tag("user")),
        ("checkout", true, Some("alice"))
    );
}

#[test]
fn nothing_is_recorded_without_a_trace_without_sampling_and_on_other_hosts() {
    for (tracing, knows_fyke, sampled) in
        [(Tracing::Absent, true, None), (Tracing::Assumed, false, None), (Tracing::Assumed, true, Some(false))]
    {
        world(|world| {
            world.tracing = tracing;
            world.knows_fyke = knows_fyke;
        });
        if let Some(sampled) = sampled {
            assert!(context(sampled).begin(&[]).unwrap().is_some());
        }
        let span = span("work");
        assert!(!span.is_recorded());
        span.tag("a", 1).error("b");
        drop(span);
        let _ = stream_span().tag("a", 1);
        assert!(World::with(|world| world.spans.is_empty()));
    }
}

#[test]
fn a_stream_has_so_many_spans_and_no_more() {
    world(|_| {});
    let spans: Vec<Span> = (0..70).map(|_| span("one of many")).collect();
    assert_eq!(spans.iter().filter(|span| span.is_recorded()).count(), 64);
    drop(spans);
    assert!(World::with(|world| world.spans.iter().all(crate::testing::RecordedSpan::has_ended)));
}

#[test]
fn a_trace_begins_once_and_is_the_current_one() {
    world(|world| world.tracing = Tracing::Absent);
    assert_eq!(current(), None);
    let template = HeaderTemplate { name: "traceparent".into(), prefix: "00-".into(), suffix: "-01".into() };
    let span = context(true).begin(std::slice::from_ref(&template)).unwrap().unwrap();
    assert_eq!(current(), Some(Current { trace_id: context(true).trace_id, span_id: span, sampled: true }));
    assert_eq!(current().unwrap().traceparent(), format!("00-0af7651916cd43dd8448eb211c80319c-{span}-01"));
    assert_eq!(template.with(span), format!("00-{span}-01"));
    assert!(context(true).begin(&[]).is_err());
    let begun = World::with(|world| world.stream_mut(1).trace.clone()).unwrap();
    assert_eq!((begun.state.as_str(), begun.parent), ("a=1", [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
    assert_eq!(begun.templates, [["traceparent", "00-", "-01"].map(str::to_owned)]);
}

#[test]
fn another_host_begins_nothing_and_says_so() {
    world(|world| world.knows_fyke = false);
    assert_eq!(context(true).begin(&[]).unwrap(), None);
    assert_eq!(current(), None);
}

#[test]
fn ids_are_lower_case_digits_and_never_zero() {
    assert_eq!(SpanId::parse(b"00000000000000ff").unwrap().to_string(), "00000000000000ff");
    for bad in [
        &b"0000000000000000"[..],
        b"00000000000000FF",
        b"00000000000000f",
        b"00000000000000fff",
        b"0000000000000 ff",
        b"",
    ] {
        assert_eq!(SpanId::parse(bad), None, "{bad:?}");
    }
    World::reset();
    assert_ne!(TraceId::random(), TraceId::random());
    assert_eq!(TraceId::new([0; 16]), None);
}

/// Waits inside of a span, and keeps another one up to the response.
struct Waits;

#[http_filter]
impl HttpFilter for Waits {
    type Config = ();
    type Ctx = Option<Span>;

    fn configure((): (), _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_request(&self, kept: &mut Option<Span>, request: &mut Request) -> Result<Flow> {
        *kept = Some(request.span("kept"));
        let span = request.span("waits");
        span.tag("path", request.path());
        sleep(Duration::from_secs(1)).await;
        span.tag("after", request.path());
        Ok(Flow::Continue)
    }

    async fn on_response(&self, kept: &mut Option<Span>, response: &mut Response) -> Result<Flow> {
        if let Some(span) = kept.take() {
            span.tag("status", response.status());
        }
        Ok(Flow::Continue)
    }
}

#[test]
fn spans_stay_with_their_streams_while_methods_wait() {
    let mut host = TestHost::<Waits>::configure("").unwrap();
    let (one, two) = (host.start(TestRequest::get("/1")), host.start(TestRequest::get("/2")));
    let gone = host.start(TestRequest::get("/3"));
    assert!(host.spans().iter().all(|span| !span.has_ended()));
    host.cancel(gone);
    let ended = |host: &TestHost<Waits>| host.spans().iter().map(|span| span.has_ended()).collect::<Vec<_>>();
    assert_eq!(ended(&host), [false, false, false, false, true, true], "the client's leave ends what is open");
    host.advance(Duration::from_secs(1));
    let _ = (host.finish(two), host.finish(one));
    assert_eq!(ended(&host), [true; 6]);
    let spans = host.spans();
    for (at, path) in [(1, "/1"), (3, "/2")] {
        assert_eq!((spans[at].tag("path"), spans[at].tag("after")), (Some(path), Some(path)));
        assert_eq!(spans[at - 1].tag("status"), Some(200_i64));
    }
}

#[test]
fn a_test_may_leave_the_trace_away() {
    let mut host = TestHost::<Waits>::configure("").unwrap();
    host.without_trace();
    let flight = host.start(TestRequest::get("/"));
    host.advance(Duration::from_secs(1));
    let _ = host.finish(flight);
    assert!(host.spans().is_empty());
}
