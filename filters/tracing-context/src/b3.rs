//! B3, of Zipkin: one header `b3`, or several `x-b3-*`.
//!
//! A decision may come without ids (`b3: 0`), and ids without a decision; ids of traces have 128 bits, or 64.

use fyke_sdk::trace::{SpanId, TraceId};

use crate::extract::{Decision, Ids, Parent, Width};
use crate::state::TraceState;

/// The headers `x-b3-*`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Multi<'a> {
    pub trace_id: Option<&'a [u8]>,
    pub span_id: Option<&'a [u8]>,
    pub sampled: Option<&'a [u8]>,
    pub flags: Option<&'a [u8]>,
}

/// Reads `b3`: `{trace}-{span}`, `{trace}-{span}-{decision}`, `{trace}-{span}-{decision}-{parent}` or `{decision}`.
pub fn parse(value: &[u8]) -> Option<Parent> {
    let value = value.trim_ascii();
    if let Some(decision) = decision(value) {
        return Some(parent(None, Some(decision)));
    }
    let mut fields = value.split(|byte| *byte == b'-');
    let ids = ids(fields.next()?, fields.next()?)?;
    let decision = match fields.next() {
        Some(field) => Some(decision(field)?),
        None => None,
    };
    // The parent's parent is of no use here, but has to be one.
    match (fields.next().map(SpanId::parse), fields.next()) {
        (None | Some(Some(_)), None) => Some(parent(Some(ids), decision)),
        _ => None,
    }
}

impl Multi<'_> {
    /// What they say.
    pub fn parse(self) -> Option<Parent> {
        let ids = match (self.trace_id, self.span_id) {
            (None, None) => None,
            (trace_id, span_id) => Some(ids(trace_id?.trim_ascii(), span_id?.trim_ascii())?),
        };
        let debug = self.flags.is_some_and(|flags| flags.trim_ascii() == b"1");
        let decision = match self.sampled.map(<[u8]>::trim_ascii) {
            _ if debug => Some(Decision::Debug),
            None => None,
            // What the first implementations wrote.
            Some(b"1" | b"true") => Some(Decision::Sampled),
            Some(b"0" | b"false") => Some(Decision::NotSampled),
            Some(_) => return None,
        };
        (ids.is_some() || decision.is_some()).then(|| parent(ids, decision))
    }
}

/// The digits of a trace's id, as many as it came with.
pub fn digits(trace_id: TraceId, width: Width) -> String {
    let all = trace_id.digits();
    let all = std::str::from_utf8(&all).unwrap_or_default();
    let hidden = if width == Width::Half { 16 } else { 0 };
    // With room for what stands before and behind them.
    let mut digits = String::with_capacity(40);
    digits.push_str(all.get(hidden..).unwrap_or(all));
    digits
}

fn parent(ids: Option<Ids>, decision: Option<Decision>) -> Parent {
    Parent { ids, decision, state: TraceState::default() }
}

fn decision(field: &[u8]) -> Option<Decision> {
    match field {
        b"1" => Some(Decision::Sampled),
        b"0" => Some(Decision::NotSampled),
        b"d" => Some(Decision::Debug),
        _ => None,
    }
}

fn ids(trace_id: &[u8], span_id: &[u8]) -> Option<Ids> {
    let (trace_id, width) = match SpanId::parse(trace_id) {
        Some(half) => {
            let mut bytes = [0; 16];
            bytes.last_chunk_mut::<8>()?.copy_from_slice(&half.bytes());
            (TraceId::new(bytes)?, Width::Half)
        }
        None => (TraceId::parse(trace_id)?, Width::Full),
    };
    Some(Ids { trace_id, span_id: SpanId::parse(span_id)?, random: false, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn read(value: &str) -> Option<(Option<String>, Option<Decision>)> {
        let parent = parse(value.as_bytes())?;
        Some((parent.ids.map(|ids| format!("{}-{}", digits(ids.trace_id, ids.width), ids.span_id)), parent.decision))
    }

    #[test]
    fn one_header_has_every_form_of_the_standard() {
        let ids = Some(format!("{TRACE}-{SPAN}"));
        for (value, expected) in [
            ("0".to_owned(), (None, Some(Decision::NotSampled))),
            ("1".to_owned(), (None, Some(Decision::Sampled))),
            ("d".to_owned(), (None, Some(Decision::Debug))),
            (format!("{TRACE}-{SPAN}"), (ids.clone(), None)),
            (format!(" {TRACE}-{SPAN}-1 "), (ids.clone(), Some(Decision::Sampled))),
            (format!("{TRACE}-{SPAN}-0"), (ids.clone(), Some(Decision::NotSampled))),
            (format!("{TRACE}-{SPAN}-d"), (ids.clone(), Some(Decision::Debug))),
            (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), (ids, Some(Decision::Sampled))),
            (format!("{SPAN}-{SPAN}"), (Some(format!("{SPAN}-{SPAN}")), None)),
        ] {
            assert_eq!(read(&value), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_b3_is_none() {
        for bad in [
            "",
            "2",
            "-",
            TRACE,
            &format!("{TRACE}-"),
            &format!("{TRACE}-{SPAN}-"),
            &format!("{TRACE}-{SPAN}-2"),
            &format!("{TRACE}-{SPAN}-1-"),
            &format!("{TRACE}-{SPAN}-1-1"),
            &format!("{TRACE}-{SPAN}-1-{SPAN}-1"),
            &format!("{}-{SPAN}", TRACE.to_uppercase()),
            &format!("{}-{SPAN}", "0".repeat(32)),
            &format!("{}-{SPAN}", "0".repeat(16)),
            &format!("{TRACE}-{}", "0".repeat(16)),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn several_headers_say_the_same() {
        let both = Multi { trace_id: Some(TRACE.as_bytes()), span_id: Some(SPAN.as_bytes()), ..Multi::default() };
        let read = |multi: Multi<'_>| multi.parse().map(|parent| (parent.ids.is_some(), parent.decision));
        assert_eq!(read(both), Some((true, None)));
        for (sampled, decision) in [
            (&b"1"[..], Some(Decision::Sampled)),
            (b"true", Some(Decision::Sampled)),
            (b"0", Some(Decision::NotSampled)),
            (b"false", Some(Decision::NotSampled)),
        ] {
            assert_eq!(read(Multi { sampled: Some(sampled), ..both }), Some((true, decision)));
            assert_eq!(read(Multi { sampled: Some(sampled), ..Multi::default() }), Some((false, decision)));
        }
        assert_eq!(read(Multi { flags: Some(b"1"), sampled: Some(b"0"), ..both }), Some((true, Some(Decision::Debug))));
        assert_eq!(read(Multi { flags: Some(b"0"), ..both }), Some((true, None)));
        for bad in [
            Multi::default(),
            Multi { span_id: None, ..both },
            Multi { trace_id: None, ..both },
            Multi { trace_id: Some(b"x"), ..both },
            Multi { sampled: Some(b"yes"), ..both },
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
