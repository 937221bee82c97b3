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

/// Some of the formats that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Formats([bool; 3]);

impl Formats {
    pub fn contains(self, format: Writes) -> bool {
        self.0.get(format as usize).is_some_and(|is_in| *is_in)
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl FromIterator<Writes> for Formats {
    fn from_iter<I: IntoIterator<Item = Writes>>(formats: I) -> Self {
        let mut all = Self::default();
        for format in formats {
            if let Some(is_in) = all.0.get_mut(format as usize) {
                *is_in = true;
            }
        }
        all
    }
}

/// What a request has in its headers.
#[derive(Debug)]
pub struct Incoming {
    /// The first that makes sense.
    pub parent: Option<Parent>,
    /// Formats that there were headers of, whether or not they make sense.
    pub seen: Formats,
    /// Whether there is a `tracestate`.
    pub has_state: bool,
}

/// How often a header is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Header<'a> {
    #[default]
    Missing,
    Once(&'a [u8]),
    /// It says nothing then.
    Often,
}

impl<'a> Header<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = if *self == Self::Missing { Self::Once(value) } else { Self::Often };
    }

    fn only(self) -> Option<&'a [u8]> {
        if let Self::Once(value) = self { Some(value) } else { None }
    }
}

/// The headers of all formats.
#[derive(Debug, Default)]
struct Headers<'a> {
    traceparent: Header<'a>,
    tracestate: Vec<&'a [u8]>,
    single: Header<'a>,
    multi: [Header<'a>; 5],
}

impl<'a> Headers<'a> {
    /// Looks at every header once: most requests have none of these.
    fn of(request: &'a Request) -> Self {
        let mut headers = Self::default();
        for (name, value) in request.iter() {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            match name.first() {
                Some(b't' | b'T') if is("traceparent") => headers.traceparent.add(value),
                Some(b't' | b'T') if is("tracestate") => headers.tracestate.push(value),
                Some(b'b' | b'B') if is("b3") => headers.single.add(value),
                Some(b'x' | b'X') => {
                    if let Some((_, header)) = B3_MULTI.iter().zip(&mut headers.multi).find(|(other, _)| is(other)) {
                        header.add(value);
                    }
                }
                _ => {}
            }
        }
        headers
    }

    fn seen(&self) -> Formats {
        let w3c = (self.traceparent != Header::Missing).then_some(Writes::W3c);
        let single = (self.single != Header::Missing).then_some(Writes::B3);
        let multi = self.multi.iter().any(|header| *header != Header::Missing).then_some(Writes::B3Multi);
        [w3c, single, multi].into_iter().flatten().collect()
    }

    fn w3c(&self) -> Option<Parent> {
        let mut parent = w3c::parse(self.traceparent.only()?)?;
        if !self.tracestate.is_empty() {
            parent.state = TraceState::parse(&self.tracestate).unwrap_or_default();
        }
        Some(parent)
    }

    fn b3(&self) -> Option<Parent> {
        self.single.only().and_then(b3::parse).or_else(|| self.b3_multi())
    }

    fn b3_multi(&self) -> Option<Parent> {
        // One that is there twice says nothing, and neither do the others then.
        if self.multi.contains(&Header::Often) {
            return None;
        }
        let [trace_id, span_id, _, sampled, flags] = self.multi.map(Header::only);
        b3::Multi { trace_id, span_id, sampled, flags }.parse()
    }
}

impl Incoming {
    /// Looks for all formats, and reads those of `order`.
    pub fn read(request: &Request, order: &[Reads]) -> Self {
        let headers = Headers::of(request);
        let parent = order.iter().find_map(|format| match format {
            Reads::W3c => headers.w3c(),
            Reads::B3 => headers.b3(),
        });
        Self { parent, seen: headers.seen(), has_state: !headers.tracestate.is_empty() }
    }
}

/// The value of a header that is there once.
pub fn only(request: &Request, name: &str) -> Option<Vec<u8>> {
    <[Vec<u8>; 1]>::try_from(request.values(name)).ok().map(|[only]| only)
}
