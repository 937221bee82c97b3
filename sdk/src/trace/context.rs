//! Where a stream's trace begins, or goes on.

use super::id::{SpanId, TraceId};
use crate::abi::{self, Status};
use crate::error::{Error, Result};

/// What a request says of the trace that it belongs to, or what a filter has decided that it belongs to.
///
/// ```
/// # use fyke_sdk::{Request, Result};
/// use fyke_sdk::trace::{HeaderTemplate, SpanId, TraceContext, TraceId};
///
/// # fn on_request(request: &mut Request) -> Result<()> {
/// let context = TraceContext { trace_id: TraceId::random(), parent: None, sampled: true, state: String::new() };
/// let header = HeaderTemplate {
///     name: "x-vendor-trace".to_owned(),
///     prefix: format!("{}/", context.trace_id),
///     suffix: ";o=1".to_owned(),
/// };
/// let span = context.begin(std::slice::from_ref(&header))?.unwrap_or_else(SpanId::random);
/// request.set(&header.name, header.with(span))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Of the trace.
    pub trace_id: TraceId,
    /// The span that caused the request; `None` where the trace begins here.
    pub parent: Option<SpanId>,
    /// Whether it is recorded.
    pub sampled: bool,
    /// `tracestate`, as W3C has it; empty: none.
    pub state: String,
}

/// A header that tells the upstream its place in the trace: a prefix, the id of the span that sends the request, a suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate {
    /// The header's name, in lower case.
    pub name: String,
    /// What is before the span's id.
    pub prefix: String,
    /// What is behind it.
    pub suffix: String,
}

impl HeaderTemplate {
    /// The value that says this span.
    #[must_use]
    pub fn with(&self, span: SpanId) -> String {
        let digits = span.digits();
        [&*self.prefix, std::str::from_utf8(&digits).unwrap_or_default(), &self.suffix].concat()
    }
}

impl TraceContext {
    /// Makes the current stream part of this trace, once, in the phase of the request's headers; the id of the stream's span. `None`:
    /// this host records nothing, and the filter makes an id of its own for the headers.
    ///
    /// The filter writes the headers with that id. When the stream is sampled, the host writes those of the templates anew in each
    /// attempt to reach an upstream, because each attempt is a span of its own.
    ///
    /// # Errors
    /// When the host refuses it: the stream is part of a trace already ([`current`](super::current) says which), or this is not the
    /// phase of the request's headers.
    pub fn begin(&self, templates: &[HeaderTemplate]) -> Result<Option<SpanId>> {
        match abi::call_foreign_function("fyke.span.stream.v1", &self.encode(templates)) {
            Ok(answer) => match answer.as_slice().try_into().ok().and_then(SpanId::new) {
                Some(span) => Ok(Some(span)),
                None => Err(Error::new("the host gave the stream's span no id")),
            },
            Err(Status::NOT_FOUND) => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    fn encode(&self, templates: &[HeaderTemplate]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend_from_slice(&self.trace_id.bytes());
        bytes.extend_from_slice(&self.parent.map(SpanId::bytes).unwrap_or_default());
        bytes.push(u8::from(self.sampled));
        abi::push_field(&mut bytes, self.state.as_bytes());
        for template in templates {
            for text in [&template.name, &template.prefix, &template.suffix] {
                abi::push_field(&mut bytes, text.as_bytes());
            }
        }
        bytes
    }
}
