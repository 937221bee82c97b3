//! To which trace a request belongs from here on, and whether that is recorded.
//!
//! In this order: a header that forces it, from a trusted source; what a trusted parent decided; this proxy's share of all traces. Who is not trusted
//! decides nothing, and chooses no number by which something is decided: his trace is left behind, or goes on with a number drawn here.

use std::time::{Duration, SystemTime};

use fyke_sdk::property::Path;
use fyke_sdk::trace::{SpanId, TraceId};
use fyke_sdk::{Request, random, time};

use crate::config::Untrusted;
use crate::extract::{Decision, Ids, Parent, Width, only};
use crate::sampling::{self, Limit, Threshold};
use crate::state::TraceState;
use crate::trust::Source;

/// How many traces are recorded that nobody has decided on.
#[derive(Debug)]
pub struct Sampler {
    /// `None`: as the host's configuration says.
    threshold: Option<Threshold>,
    of_host: Path,
    limit: Option<Limit>,
    untrusted: Untrusted,
}

/// What becomes of a request's trace.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of this one.
    Part(Trace),
    /// It stays as it came: a trusted parent left the decision to others, and this proxy has no opinion.
    Pass,
    /// It is part of none: there was no trace, and this proxy begins none.
    Nothing,
}

/// The trace that a request belongs to.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    pub trace_id: TraceId,
    /// Whether the last seven bytes of its id are known to be random.
    pub random: bool,
    pub width: Width,
    pub parent: Option<SpanId>,
    pub decision: Decision,
    pub state: TraceState,
}

/// What the request and its source ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It is to be recorded.
    Forced,
    /// Nothing.
    None,
}

impl Sampler {
    pub fn new(ratio: Option<f64>, per_second: Option<u32>, untrusted: Untrusted) -> Self {
        Self {
            threshold: ratio.map(Threshold::of),
            of_host: Path::new(&["fyke", "tracing", "sample"]),
            limit: per_second.map(Limit::new),
            untrusted,
        }
    }

    pub fn decide(&self, request: &Request, source: Source, parent: Option<Parent>, wish: Wish) -> Verdict {
        let (parent, drawn) = match (source, self.untrusted, parent) {
            (Source::Trusted, _, parent) => (parent, None),
            (Source::Untrusted, Untrusted::Continue, Some(Parent { ids: Some(ids), mut state, .. })) => {
                let bits = random::number() >> 8;
                state.set_threshold(None);
                state.set_randomness(bits);
                (Some(Parent { ids: Some(ids), decision: None, state }), Some(bits))
            }
            (Source::Untrusted, ..) => (None, None),
        };
        let Parent { ids, decision, mut state } =
            parent.unwrap_or(Parent { ids: None, decision: None, state: TraceState::default() });
        let begun = ids.is_none();
        let (trace_id, random, width, parent) = match ids {
            Some(Ids { trace_id, span_id, random, width }) => (trace_id, random, width, Some(span_id)),
            None => {
                let (trace_id, random) = new_id(request, source);
                (trace_id, random, Width::Full, None)
            }
        };
        let decision = match (wish, decision) {
            (Wish::None, Some(decision)) | (Wish::Forced, Some(decision @ (Decision::Sampled | Decision::Debug))) => {
                decision
            }
            (Wish::Forced, _) => {
                // One that was asked for stands for no others.
                state.set_threshold(None);
                self.limited()
            }
            (Wish::None, None) => {
                let Some(threshold) = self.threshold.or_else(|| self.of_host()) else {
                    return match source {
                        Source::Trusted if !begun => Verdict::Pass,
                        _ => Verdict::Nothing,
                    };
                };
                let bits = drawn.or_else(|| state.randomness()).unwrap_or_else(|| sampling::of_trace(trace_id));
                let decision = if threshold.takes(bits) { self.limited() } else { Decision::NotSampled };
                // With a limit, nobody knows for how many others a recorded trace stands.
                let counts = decision.is_sampled() && self.limit.is_none();
                state.set_threshold(counts.then(|| threshold.digits()).as_deref());
                decision
            }
        };
        Verdict::Part(Trace { trace_id, random, width, parent, decision, state })
    }

    fn limited(&self) -> Decision {
        let Some(limit) = &self.limit else { return Decision::Sampled };
        let now = time::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if limit.take(now) { Decision::Sampled } else { Decision::NotSampled }
    }

    fn of_host(&self) -> Option<Threshold> {
        let bytes = self.of_host.read()?;
        Some(Threshold::of(f64::from_le_bytes(bytes.as_slice().try_into().ok()?)))
    }
}

/// An id for a trace that begins here. Of a trusted source, its random part is that of the request's id, so that proxies that begin
/// traces for the same request decide alike; whether it is known to be random.
fn new_id(request: &Request, source: Source) -> (TraceId, bool) {
    let id = TraceId::random();
    if source == Source::Trusted
        && request.contains("x-request-id")
        && let Some((bits, random)) = only(request, "x-request-id").and_then(|id| sampling::of_request(&id))
    {
        return (sampling::with_bits(id, bits), random);
    }
    (id, true)
}
