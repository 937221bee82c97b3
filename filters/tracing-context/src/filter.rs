//! The filter.

use fyke_sdk::trace::{self, SpanId, TraceContext};
use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Request, Response, Result, http_filter, property};

use crate::config::{Config, Writes};
use crate::decide::{Trace, Verdict, Wish};
use crate::extract::{Formats, Incoming};
use crate::inject;
use crate::settings::{Answer, Settings};
use crate::tags::cut;
use crate::trust::Source;

/// The longest name of a span, in bytes.
const LONGEST_NAME: usize = 256;

/// One configuration of the filter.
pub struct TracingContext {
    settings: Settings,
}

/// What the response needs to know.
#[derive(Default)]
pub struct Ctx {
    /// The header of the answer.
    answer: Option<Box<str>>,
    /// Whether tags go anywhere.
    records: bool,
}

#[http_filter]
impl HttpFilter for TracingContext {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { settings: Settings::new(config)? })
    }

    async fn on_request(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        let mut incoming = Incoming::read(request, &self.settings.extract);
        let source = self.settings.judge.source();
        let wish = self.wish(request, source)?;
        match self.settings.sampler.decide(request, source, incoming.parent.take(), wish) {
            Verdict::Part(trace) => self.join(cx, request, &incoming, &trace)?,
            Verdict::Pass => {}
            Verdict::Nothing => inject::remove(request, Formats::default(), &incoming)?,
        }
        Ok(Flow::Continue)
    }

    fn wants_response(&self) -> bool {
        self.settings.answer.is_some() || self.settings.tags.has_late()
    }

    async fn on_response(&self, cx: &mut Ctx, response: &mut Response) -> Result<Flow> {
        match (&self.settings.answer, &cx.answer) {
            (Some(Answer::TraceResponse), Some(value)) => response.set("traceresponse", value.as_bytes())?,
            (Some(Answer::Id(name)), Some(value)) => response.set(name, value.as_bytes())?,
            _ => {}
        }
        if cx.records {
            self.settings.tags.write_late(response.stream_span());
        }
        Ok(Flow::Continue)
    }
}

impl TracingContext {
    /// Whether the request asks to be recorded. The headers of a stranger go, for the next proxy would believe this one.
    fn wish(&self, request: &mut Request, source: Source) -> Result<Wish> {
        let mut wish = Wish::None;
        for name in &self.settings.force {
            match (request.contains(name), source) {
                (true, Source::Trusted) => wish = Wish::Forced,
                (true, Source::Untrusted) => request.remove(name)?,
                (false, _) => {}
            }
        }
        Ok(wish)
    }

    /// Makes the stream part of a trace, and tells the upstream.
    fn join(&self, cx: &mut Ctx, request: &mut Request, incoming: &Incoming, trace: &Trace) -> Result<()> {
        let plan = inject::Plan::new(trace, self.settings.inject, incoming);
        let sampled = trace.decision.is_sampled();
        let context = TraceContext {
            trace_id: trace.trace_id,
            parent: trace.parent,
            sampled,
            state: trace.state.as_str().to_owned(),
        };
        // Of what is not recorded, attempts are no spans: its headers are written once, by this filter.
        let host = match context.begin(if sampled { &plan.templates } else { &[] }) {
            Ok(host) => host,
            // Another filter was here before, and has written the headers.
            Err(_) if trace::current().is_some() => return Ok(()),
            Err(_) => None,
        };
        let span = host.unwrap_or_else(SpanId::random);
        // Where the host makes a span of each attempt, the stream's is above it.
        let attempts = sampled && host.is_some() && property::read(&["fyke", "tracing", "sample"]).is_some();
        let above = if attempts { Some(span) } else { trace.parent };
        plan.write(request, trace, incoming, span, above)?;
        cx.records = sampled && host.is_some();
        if cx.records {
            let own = request.stream_span();
            if let Some(name) = self.settings.operation.as_ref().and_then(fyke_sdk::Template::render) {
                own.name(&cut(&name, LONGEST_NAME));
            }
            self.settings.tags.write_early(own);
        }
        cx.answer = self.settings.answer.as_ref().map(|answer| match answer {
            // In the format of `traceparent`.
            Answer::TraceResponse => inject::template(trace, Writes::W3c).with(span).into(),
            Answer::Id(_) => trace.trace_id.to_string().into(),
        });
        Ok(())
    }
}
