//! What a request says of its trace.

use fyke_sdk::Request;
use fyke_sdk::trace::{SpanId, TraceId};

use crate::b3;
use crate::config::{Reads, Writes};
use crate::state::TraceState;
use crate::w3c;

/// The headers of `x-b3-*`.
pub const B3_MULTI: [&str; 5] = ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];

/// Where the request comes from, in the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// `None`: there is a decision, and no trace yet.
    pub ids: Option<Ids>,
    /// Whether it is recorded; `None`: whoever gets the request is to decide.
    pub decision: Option<Decision>,
    /// What others say.
    pub state: TraceState,
}

/// The ids of a trace, and of the span that caused the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// Whether the last seven bytes of the trace's id are known to be random.
    pub random: bool,
    pub width: Width,
}

/// How long the trace's id was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 128 bits.
    Full,
    /// 64, as old tracers have them.
    Half,
}

/// Whether a trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Sampled,
    /// Recorded, whatever anybody else thinks. B3 only.
    Debug,
    NotSampled,
}

impl Decision {
    pub fn is_sampled(self) -> bool {
        self != Self::NotSampled
    }
}

/// What a request has in its headers.
#[derive(Debug)]
pub struct Incoming {
    /// The first that makes sense.
    pub parent: Option<Parent>,
    /// Formats that there were headers of, whether or not they make sense.
    pub seen: Vec<Writes>,
    /// Whether there is a `tracestate`.
    pub has_state: bool,
}

impl Incoming {
    /// Looks for all formats, and reads those of `order`.
    pub fn read(request: &Request, order: &[Reads]) -> Self {
        let has_state = request.contains("tracestate");
        let multi = B3_MULTI.map(|name| request.contains(name));
        let mut seen = Vec::new();
        if request.contains("traceparent") {
            seen.push(Writes::W3c);
        }
        if request.contains("b3") {
            seen.push(Writes::B3);
        }
        if multi.contains(&true) {
            seen.push(Writes::B3Multi);
        }
        let parent = order.iter().find_map(|format| match format {
            Reads::W3c if seen.contains(&Writes::W3c) => of_w3c(request, has_state),
            Reads::W3c => None,
            Reads::B3 => {
                let single = seen.contains(&Writes::B3).then(|| b3::parse(&only(request, "b3")?)).flatten();
                single.or_else(|| seen.contains(&Writes::B3Multi).then(|| of_b3(request, multi)).flatten())
            }
        });
        Self { parent, seen, has_state }
    }
}

fn of_w3c(request: &Request, has_state: bool) -> Option<Parent> {
    let mut parent = w3c::parse(&only(request, "traceparent")?)?;
    if has_state {
        parent.state = TraceState::parse(&request.values("tracestate")).unwrap_or_default();
    }
    Some(parent)
}

fn of_b3(request: &Request, present: [bool; 5]) -> Option<Parent> {
    let mut values = [const { None }; 5];
    for ((value, name), present) in values.iter_mut().zip(B3_MULTI).zip(present) {
        if present {
            // One that is there twice says nothing, and neither do the others then.
            *value = Some(only(request, name)?);
        }
    }
    let [trace_id, span_id, _, sampled, flags] = &values;
    let (trace_id, span_id) = (trace_id.as_deref(), span_id.as_deref());
    b3::Multi { trace_id, span_id, sampled: sampled.as_deref(), flags: flags.as_deref() }.parse()
}

/// The value of a header that is there once.
pub fn only(request: &Request, name: &str) -> Option<Vec<u8>> {
    <[Vec<u8>; 1]>::try_from(request.values(name)).ok().map(|[only]| only)
}
