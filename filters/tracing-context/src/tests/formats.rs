//! What comes in, and what goes out.

use super::*;

const B3_TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const HALF: &str = "64fe8b2a57d3eff7";
const SPAN: &str = "e457b5a2e4d86bd1";

/// Trace, span and decision of the only `b3`.
#[track_caller]
fn b3(sent: &Sent<'_>) -> [String; 3] {
    let value = sent.header("b3").expect("a b3");
    let fields: Vec<String> = value.split('-').map(str::to_owned).collect();
    fields.try_into().expect("three fields")
}

fn single(rest: &str) -> (&'static str, String) {
    ("b3", format!("{B3_TRACE}-{SPAN}{rest}"))
}

#[test]
fn what_came_in_goes_out() {
    let proxy = Proxy::new("{}");
    for (decision, out) in [("-1", "1"), ("-0", "0"), ("-d", "d"), ("-1-05e3ac9a4f6e3b90", "1"), ("", "1")] {
        let sent = proxy.send(&[single(decision)]);
        let [trace_id, span_id, sampled] = b3(&sent);
        assert_eq!((trace_id.as_str(), sampled.as_str()), (B3_TRACE, out), "{decision}");
        assert_ne!(span_id, SPAN);
        assert_eq!((sent.header("traceparent"), sent.header("x-b3-traceid")), (None, None));
        assert_eq!(sent.trace().unwrap().parent, [0xe4, 0x57, 0xb5, 0xa2, 0xe4, 0xd8, 0x6b, 0xd1]);
    }
}

#[test]
fn several_headers_go_out_as_several() {
    let ids = [("x-b3-traceid", B3_TRACE), ("x-b3-spanid", SPAN), ("x-b3-parentspanid", "05e3ac9a4f6e3b90")];
    let with = |more: &[(&'static str, &'static str)]| [&ids[..], more].concat();
    for (headers, sampled, flags) in [
        (with(&[("x-b3-sampled", "1")]), Some("1"), None),
        (with(&[("x-b3-sampled", "0")]), Some("0"), None),
        (with(&[("x-b3-flags", "1")]), None, Some("1")),
        (with(&[("x-b3-flags", "1"), ("x-b3-sampled", "0")]), None, Some("1")),
        (with(&[]), Some("1"), None),
    ] {
        let proxy = Proxy::new("{}");
        let sent = proxy.send(&headers);
        assert_eq!(sent.header("x-b3-traceid").as_deref(), Some(B3_TRACE));
        assert_eq!((sent.header("x-b3-sampled").as_deref(), sent.header("x-b3-flags").as_deref()), (sampled, flags));
        let (span_id, above) = (sent.header("x-b3-spanid").unwrap(), sent.header("x-b3-parentspanid").unwrap());
        assert_ne!(span_id, SPAN);
        // Sampled: the host makes spans of attempts, below the stream's.
        assert_eq!(above, if sampled == Some("0") { SPAN.to_owned() } else { span_id }, "{headers:?}");
        assert_eq!((sent.header("traceparent"), sent.header("b3")), (None, None));
    }
    let proxy = Proxy::elsewhere("{}");
    let sent = proxy.send(&with(&[("x-b3-sampled", "1")]));
    assert_eq!(sent.header("x-b3-parentspanid").as_deref(), Some(SPAN), "the filter's own span is the only one");
}

#[test]
fn ids_of_64_bits_stay_as_long_as_they_were() {
    let proxy = Proxy::new(r#"{"inject": ["b3", "b3_multi", "w3c"]}"#);
    let sent = proxy.send(&[("b3", format!("{HALF}-{SPAN}-1"))]);
    assert_eq!((b3(&sent)[0].as_str(), sent.header("x-b3-traceid").as_deref()), (HALF, Some(HALF)));
    assert_eq!(sent.traceparent()[0], format!("0000000000000000{HALF}"));
}

#[test]
fn a_decision_without_ids_begins_a_trace_with_it() {
    for (value, sampled) in [("0", "0"), ("1", "1"), ("d", "d")] {
        let proxy = Proxy::new(r#"{"sample": "50%"}"#);
        let sent = proxy.send(&[("b3", value)]);
        assert_eq!(b3(&sent)[2], sampled);
        assert_eq!(sent.trace().unwrap().parent, [0; 8]);
    }
    let proxy = Proxy::new("{}");
    let sent = proxy.send(&[("x-b3-sampled", "0")]);
    assert_eq!((sent.header("x-b3-sampled").as_deref(), sent.header("x-b3-parentspanid")), (Some("0"), None));
    assert!(sent.header("x-b3-traceid").is_some());
}

#[test]
fn the_first_format_that_makes_sense_counts_and_all_agree_afterwards() {
    let both = [("traceparent", traceparent("01")), single("-0")];
    let proxy = Proxy::new("{}");
    let sent = proxy.send(&both);
    let [trace_id, span_id, flags] = sent.traceparent();
    assert_eq!((trace_id.as_str(), flags.as_str()), (TRACE, "01"));
    assert_eq!(b3(&sent), [trace_id, span_id, "1".to_owned()]);
    let proxy = Proxy::new(r#"{"extract": ["b3", "w3c"]}"#);
    let sent = proxy.send(&both);
    assert_eq!((sent.traceparent()[0].as_str(), b3(&sent)[0].as_str(), sent.is_sampled()), (B3_TRACE, B3_TRACE, false));
    let proxy = Proxy::new("{}");
    let sent = proxy.send(&[("traceparent", "nonsense".to_owned()), ("tracestate", "a=1".to_owned()), single("-1")]);
    assert_eq!((sent.traceparent()[0].as_str(), sent.header("tracestate")), (B3_TRACE, None));
    let sent = proxy.send(&[("b3", "nonsense"), ("x-b3-traceid", B3_TRACE), ("x-b3-spanid", SPAN)]);
    assert_eq!((b3(&sent)[0].as_str(), sent.header("x-b3-traceid").as_deref()), (B3_TRACE, Some(B3_TRACE)));
}

#[test]
fn formats_that_are_not_written_are_taken_away() {
    let proxy = Proxy::new(r#"{"inject": ["w3c"]}"#);
    let sent = proxy.send(&[single("-1"), ("x-b3-flags", "1".to_owned()), ("x-b3-traceid", B3_TRACE.to_owned())]);
    assert_eq!(sent.traceparent()[0], B3_TRACE);
    for name in ["b3", "x-b3-flags", "x-b3-traceid"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
    let proxy = Proxy::new(r#"{"inject": ["b3"], "extract": ["b3"]}"#);
    let sent = proxy.send(&[("traceparent", traceparent("01")), ("tracestate", "a=1".to_owned())]);
    assert_ne!(b3(&sent)[0], TRACE, "it is not read");
    assert_eq!((sent.header("traceparent"), sent.header("tracestate")), (None, None), "and would contradict");
    let proxy = Proxy::new(r#"{"inject": []}"#);
    let sent = proxy.send(&[("traceparent", traceparent("01"))]);
    assert_eq!((sent.header("traceparent"), sent.trace().unwrap().sampled), (None, true), "recorded, and told nobody");
}

#[test]
fn headers_that_are_there_twice_say_nothing() {
    let proxy = Proxy::new("{}");
    let sent = proxy.send(&[single("-1"), single("-1")]);
    assert_ne!(b3(&sent)[0], B3_TRACE);
    let sent =
        proxy.send(&[("x-b3-traceid", B3_TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1"), ("x-b3-sampled", "0")]);
    assert_ne!(sent.header("x-b3-traceid").as_deref(), Some(B3_TRACE));
    assert_eq!(sent.values("x-b3-sampled").len(), 1);
}

#[test]
fn baggage_is_not_ours() {
    let proxy = Proxy::new("{}").peer("203.0.113.9:1");
    let sent = proxy.send(&[("baggage", "a=1,b=2"), ("baggage", "c=3"), ("traceparent", "nonsense")]);
    assert_eq!(sent.values("baggage"), ["a=1,b=2", "c=3"]);
}

#[test]
fn the_answer_tells_the_trace_where_it_is_told_to() {
    let proxy = Proxy::new(r#"{"response_header": "X-Trace-Id"}"#);
    let sent = proxy.send(&[("traceparent", traceparent("01"))]);
    sent.answer(&[(":status", "200"), ("x-trace-id", "of somebody else")]);
    assert_eq!(sent.answer_header("x-trace-id").as_deref(), Some(TRACE));
    for make in [Proxy::new, Proxy::elsewhere] {
        let proxy = make(r#"{"response_header": "traceresponse"}"#);
        let sent = proxy.send(&[("traceparent", traceparent("03"))]);
        let [_, span_id, _] = sent.traceparent();
        sent.answer(&[(":status", "200")]);
        assert_eq!(sent.answer_header("traceresponse").unwrap(), format!("00-{TRACE}-{span_id}-03"));
    }
    let proxy = Proxy::in_world(r#"{"response_header": "x-trace-id"}"#, |world| world.sample = None);
    let sent = proxy.send::<&str, &str>(&[]);
    sent.answer(&[(":status", "200"), ("x-trace-id", "theirs")]);
    assert_eq!(sent.answer_header("x-trace-id").as_deref(), Some("theirs"), "there is no trace");
    let silent = Proxy::new("{}");
    assert_eq!(World::with(|world| world.skipped.clone()).unwrap(), "response_headers,context_create");
    let sent = silent.send::<&str, &str>(&[]);
    assert!(sent.is_sampled());
}
