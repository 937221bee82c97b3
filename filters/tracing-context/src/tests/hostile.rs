//! What strangers, and friends with a bug, send.

use proptest::prelude::*;

use super::*;

/// Headers that the filter looks at, and one that it does not.
fn names() -> Vec<&'static str> {
    let others = ["x-request-id", "x-envoy-force-trace", "x-client-trace-id", "user-agent"];
    crate::settings::TAKEN.into_iter().chain(others).collect()
}

/// Whatever came in, what goes out makes sense: one header of each, and all of them about the same trace.
fn agrees(sent: &Sent<'_>) {
    let [trace_id, span_id, flags] = sent.traceparent();
    let sampled = u8::from_str_radix(&flags, 16).unwrap() & 1;
    if let Some(state) = sent.header("tracestate") {
        assert!(crate::state::TraceState::parse(&[state.as_bytes()]).is_some(), "{state}");
    }
    let b3 = sent.header("b3").unwrap();
    let multi = sent.header("x-b3-traceid").unwrap();
    assert!(trace_id.ends_with(&multi), "{trace_id} {multi}");
    let decision = if sampled == 0 { "0" } else { b3.rsplit('-').next().unwrap() };
    assert_eq!(b3, format!("{multi}-{span_id}-{decision}"));
    assert!(matches!(decision, "0" | "1" | "d"));
    assert_eq!(sent.header("x-b3-spanid").unwrap(), span_id);
    let (told, debug) = (sent.header("x-b3-sampled"), sent.header("x-b3-flags"));
    match decision {
        "d" => assert_eq!((told, debug.as_deref()), (None, Some("1"))),
        decision => assert_eq!((told.as_deref(), debug), (Some(decision), None)),
    }
}

const ALL: &str = r#"{"inject": ["w3c", "b3", "b3_multi"], "tags": {"agent": {"header": "user-agent"}}}"#;

#[test]
fn a_megabyte_of_headers_is_no_trouble() {
    let members: String = (0..60_000).map(|n| format!("k{n}=v,")).collect();
    let commas = ",".repeat(1 << 20);
    let long = "a".repeat(1 << 20);
    for peer in ["10.0.0.1:1", "203.0.113.9:1"] {
        let proxy = Proxy::new(ALL).peer(peer);
        for (name, value) in
            names().into_iter().flat_map(|name| [&members, &commas, &long].map(|value| (name, value.as_str())))
        {
            agrees(&proxy.send(&[("traceparent", &*traceparent("01")), (name, value)]));
        }
        let good = traceparent("01");
        let many: Vec<(&str, String)> = (0..5_000).map(|n| ("tracestate", format!("k{n}=v"))).collect();
        let sent = proxy.send(&[&[("traceparent", good.clone())][..], &many].concat());
        agrees(&sent);
        let kept = sent.header("tracestate").unwrap_or_default();
        assert!(!kept.contains("k1=v"), "{kept}");
        agrees(&proxy.send(&vec![("traceparent", good); 1_000]));
    }
}

#[test]
fn bytes_that_are_no_text_are_no_trouble() {
    let proxy = Proxy::new(ALL);
    for name in names() {
        for value in [&b"\xff\xfe"[..], b"\x80", "größer".as_bytes(), b"00-\xff", b"a=\xff"] {
            agrees(&proxy.send_bytes(&[(name, value)]));
        }
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let hex =
        |length: usize| proptest::collection::vec(proptest::sample::select(b"0123456789abcdef".as_slice()), length);
    let ids = (hex(32), hex(16), 0..=255_u8).prop_map(|(trace_id, span_id, flags)| {
        let (trace_id, span_id) = (String::from_utf8(trace_id).unwrap(), String::from_utf8(span_id).unwrap());
        format!("00-{trace_id}-{span_id}-{flags:02x}").into_bytes()
    });
    prop_oneof![
        4 => ids,
        2 => hex(32),
        2 => hex(16),
        1 => Just(b"1".to_vec()),
        1 => Just(b"d".to_vec()),
        2 => "[0-9a-f]{16,32}-[0-9a-f]{16}(-[01d])?(-[0-9a-f]{16})?".prop_map(String::into_bytes),
        2 => "([a-z]{1,3}=[ -~]{0,4},?){0,40}".prop_map(String::into_bytes),
        2 => "ot=(th:[0-9a-f]{0,15};?|rv:[0-9a-f]{13,15};?|x:y;?){0,4}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>().prop_filter("no header", |byte| *byte >= b' ' && *byte != 0x7f), 0..80),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_in_what_goes_out_agrees(
        headers in proptest::collection::vec((proptest::sample::select(names()), value()), 0..10),
        peer in proptest::sample::select(["10.0.0.1:1", "203.0.113.9:1"].as_slice()),
        untrusted in proptest::sample::select(["restart", "continue"].as_slice()),
        sample in proptest::sample::select(["0%", "50%", "100%"].as_slice()),
    ) {
        let configuration = format!(
            r#"{{"inject": ["w3c", "b3", "b3_multi"], "untrusted": "{untrusted}", "sample": "{sample}"}}"#
        );
        let proxy = Proxy::new(&configuration).peer(peer);
        let borrowed: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let sent = proxy.send_bytes(&borrowed);
        agrees(&sent);
        if peer.starts_with("203") {
            match sample {
                "0%" => prop_assert!(!sent.is_sampled()),
                "100%" => prop_assert!(sent.is_sampled()),
                _ => {}
            }
        }
    }
}
