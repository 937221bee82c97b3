//! Tracing: spans of a filter inside of the stream's span, and where a trace begins.
//!
//! A *trace* is everything that one request caused, in all services; a *span* is one piece of work in it. The host makes one span of
//! each stream and one of each attempt to reach an upstream; a filter adds spans of its own, and tags.
//!
//! ```
//! # use fyke_sdk::{Cluster, HttpRequest, Request, Result};
//! # async fn on_request(authz: &Cluster, request: &mut Request) -> Result<()> {
//! let span = request.span("authorise");
//! let answer = authz.call(HttpRequest::get("/check")).await.inspect_err(|error| span.error(error))?;
//! span.tag("status", answer.status()).tag("cached", false);
//! drop(span);
//! request.stream_span().tag("user", answer.body());
//! # Ok(())
//! # }
//! ```
//!
//! # When nothing is recorded
//! Most streams are not sampled, other hosts than Fyke have no spans for filters, and a proxy may be without `tracing`. A filter need not
//! ask: then all of this does nothing. [`Span::is_recorded`] is for tags that cost something to make.
//!
//! # Who begins a trace
//! One filter, in the headers of the request, by [`TraceContext::begin`]: `builtin:tracing-context` reads and writes the
//! headers of W3C and B3. An author who needs the headers of somebody else writes a filter like it. It stands before the filters that make spans.
//!
//! # To whom a span belongs
//! To the stream in whose method it was made. It may stay open while a method waits, or be kept in the stream's `Ctx`; what is kept
//! anywhere else would be written to whichever stream is at work.
//!
//! In tests, [`TestHost::spans`](crate::testing::TestHost::spans) has what was recorded.

mod context;
mod id;
mod span;
mod tag;

pub use context::{HeaderTemplate, TraceContext};
pub use id::{SpanId, TraceId};
pub use span::{Span, StreamSpan};
pub use tag::Tag;

use crate::property;

/// The trace of the current stream; `None` where no filter has begun one, and on other hosts.
#[must_use]
pub fn current() -> Option<Current> {
    let id = |name: &str| property::read(&["fyke", "trace", name]);
    Some(Current {
        trace_id: TraceId::parse(&id("id")?)?,
        span_id: SpanId::parse(&id("span_id")?)?,
        sampled: id("sampled")?.first().is_some_and(|byte| *byte != 0),
    })
}

/// A span inside of the current stream's, from here to where it is dropped. As [`Request::span`](crate::Request::span), for code that has no request at hand.
pub fn span(name: &str) -> Span {
    Span::start(name)
}

/// The current stream's own span. As [`Request::stream_span`](crate::Request::stream_span), for code that has no request at hand.
#[must_use]
pub fn stream_span() -> StreamSpan {
    StreamSpan::new()
}

/// The trace that a stream belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// Of the trace.
    pub trace_id: TraceId,
    /// Of the stream's own span.
    pub span_id: SpanId,
    /// Whether its spans are recorded.
    pub sampled: bool,
}

impl Current {
    /// The header `traceparent` for a call that the filter makes on behalf of the stream, so that what the called service records
    /// hangs below the stream's span.
    ///
    /// ```
    /// # use fyke_sdk::{Cluster, HttpRequest, Result, trace};
    /// # async fn ask(authz: &Cluster) -> Result<()> {
    /// let mut call = HttpRequest::get("/check");
    /// if let Some(trace) = trace::current() {
    ///     call = call.header("traceparent", trace.traceparent());
    /// }
    /// authz.call(call).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests;
