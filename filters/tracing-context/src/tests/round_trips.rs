//! What one proxy writes, the next one reads.

use proptest::prelude::*;

use fyke_sdk::trace::{SpanId, TraceId};

use crate::config::Writes;
use crate::decide::Trace;
use crate::extract::{Decision, Parent, Width};
use crate::state::TraceState;
use crate::{b3, inject, w3c};

fn trace() -> impl Strategy<Value = (Trace, SpanId)> {
    let decision = prop_oneof![Just(Decision::Sampled), Just(Decision::Debug), Just(Decision::NotSampled)];
    (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<bool>(), decision, any::<bool>()).prop_filter_map(
        "ids are not zero",
        |(trace_id, span_id, random, decision, half)| {
            let mut bytes = trace_id;
            if half {
                bytes[..8].fill(0);
            }
            let trace = Trace {
                trace_id: TraceId::new(bytes)?,
                random,
                width: if half { Width::Half } else { Width::Full },
                parent: None,
                decision,
                state: TraceState::default(),
            };
            Some((trace, SpanId::new(span_id)?))
        },
    )
}

fn written(trace: &Trace, span: SpanId, format: Writes) -> String {
    inject::template(trace, format).with(span)
}

#[track_caller]
fn same(parent: &Parent, trace: &Trace, span: SpanId) {
    let ids = parent.ids.unwrap();
    assert_eq!((ids.trace_id, ids.span_id), (trace.trace_id, span));
}

proptest! {
    #[test]
    fn a_traceparent_comes_back((trace, span) in trace()) {
        let parent = w3c::parse(written(&trace, span, Writes::W3c).as_bytes()).unwrap();
        same(&parent, &trace, span);
        prop_assert_eq!(parent.decision.unwrap().is_sampled(), trace.decision.is_sampled());
        prop_assert_eq!(parent.ids.unwrap().random, trace.random);
    }

    #[test]
    fn a_b3_comes_back((trace, span) in trace()) {
        let parent = b3::parse(written(&trace, span, Writes::B3).as_bytes()).unwrap();
        same(&parent, &trace, span);
        prop_assert_eq!((parent.decision, parent.ids.unwrap().width), (Some(trace.decision), trace.width));
    }

    #[test]
    fn several_b3_headers_come_back((trace, span) in trace()) {
        let (trace_id, span_id) = (b3::digits(trace.trace_id, trace.width), written(&trace, span, Writes::B3Multi));
        let multi = b3::Multi { trace_id: Some(trace_id.as_bytes()), span_id: Some(span_id.as_bytes()), ..b3::Multi::default() };
        let parent = multi.parse().unwrap();
        same(&parent, &trace, span);
        prop_assert_eq!(parent.ids.unwrap().width, trace.width);
    }

    #[test]
    fn a_tracestate_comes_back(members in proptest::collection::hash_map("[a-z0-9][a-z0-9_@*/-]{0,8}", "[!-+.-<>-~]{1,9}", 0..=32)) {
        let text = members.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let state = TraceState::parse(&[text.as_bytes()]).unwrap();
        prop_assert_eq!(state.as_str(), text.as_str());
        // What is combined of pieces is the same list.
        let pieces: Vec<Vec<u8>> = text.split(',').map(|member| format!(" {member}\t").into_bytes()).collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let combined = TraceState::parse(&pieces).unwrap();
        prop_assert_eq!(combined.as_str(), text.as_str());
        // A threshold that is said and taken back changes nothing but the order.
        if !members.contains_key("ot") && members.len() < 32 {
            let mut changed = combined;
            changed.set_threshold(Some("8"));
            changed.set_threshold(None);
            prop_assert_eq!(changed.as_str(), text.as_str());
        }
    }

    #[test]
    fn nothing_is_too_strange_to_be_read(bytes: Vec<u8>, others: Vec<Vec<u8>>) {
        let _ = w3c::parse(&bytes);
        let _ = b3::parse(&bytes);
        let _ = b3::Multi { trace_id: Some(&bytes), span_id: Some(&bytes), sampled: Some(&bytes), flags: Some(&bytes) }.parse();
        let _ = TraceState::parse(&others.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
}
