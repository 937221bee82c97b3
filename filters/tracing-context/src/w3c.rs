//! `traceparent`, of W3C Trace Context, level 2.

use fyke_sdk::trace::{SpanId, TraceId};

use crate::extract::{Decision, Ids, Parent, Width};
use crate::state::TraceState;

/// The trace is recorded.
const SAMPLED: u8 = 1;
/// The last seven bytes of the trace's id are random.
const RANDOM: u8 = 2;
/// `00-{32}-{16}-{2}`.
const LENGTH: usize = 55;

/// Reads a `traceparent`. A version that is not known yet is read as far as this one goes (section 3.2.4).
pub fn parse(value: &[u8]) -> Option<Parent> {
    let value = value.trim_ascii();
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let mut fields = known.split(|byte| *byte == b'-');
    let (version, trace_id, span_id, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let version = byte(version)?;
    match (version, rest) {
        (0xff, _) => return None,
        (_, []) => {}
        (0, _) => return None,
        (_, [b'-', ..]) => {}
        _ => return None,
    }
    let flags = byte(flags)?;
    Some(Parent {
        ids: Some(Ids {
            trace_id: TraceId::parse(trace_id)?,
            span_id: SpanId::parse(span_id)?,
            // Of a later version nothing is known but the first flag.
            random: version == 0 && flags & RANDOM != 0,
            width: Width::Full,
        }),
        decision: Some(if flags & SAMPLED == 0 { Decision::NotSampled } else { Decision::Sampled }),
        state: TraceState::default(),
    })
}

/// The flags of a trace.
pub fn flags(sampled: bool, random: bool) -> u8 {
    (u8::from(sampled) * SAMPLED) | (u8::from(random) * RANDOM)
}

/// Flags as they are written.
pub fn digits(flags: u8) -> &'static str {
    match flags {
        0 => "00",
        SAMPLED => "01",
        RANDOM => "02",
        _ => "03",
    }
}

fn byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let digit = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

    fn read(value: &str) -> Option<(Decision, bool)> {
        let parent = parse(value.as_bytes())?;
        Some((parent.decision?, parent.ids?.random))
    }

    #[test]
    fn the_flags_are_bits() {
        assert_eq!(read(&format!("00-{IDS}-01")), Some((Decision::Sampled, false)));
        assert_eq!(read(&format!("00-{IDS}-03")), Some((Decision::Sampled, true)));
        assert_eq!(read(&format!("00-{IDS}-02")), Some((Decision::NotSampled, true)));
        assert_eq!(read(&format!("00-{IDS}-f8")), Some((Decision::NotSampled, false)));
        assert_eq!(read(&format!("7f-{IDS}-ff-more")), Some((Decision::Sampled, false)));
        assert_eq!((flags(true, true), flags(true, false), flags(false, true)), (3, 1, 2));
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "FF-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
