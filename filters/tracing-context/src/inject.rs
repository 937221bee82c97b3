//! What upstreams are told.

use fyke_sdk::trace::{HeaderTemplate, SpanId};
use fyke_sdk::{Request, Result};

use crate::b3;
use crate::config::Writes;
use crate::decide::Trace;
use crate::extract::{B3_MULTI, Decision, Formats, Incoming, Width};
use crate::w3c;

/// All formats.
const FORMATS: [Writes; 3] = [Writes::W3c, Writes::B3, Writes::B3Multi];

/// The formats that are written, and the headers in them that say the span that sends the request.
#[derive(Debug)]
pub struct Plan {
    formats: Formats,
    pub templates: Vec<HeaderTemplate>,
}

impl Plan {
    /// Of the formats that are configured, or of those that came in.
    pub fn new(trace: &Trace, configured: Option<Formats>, incoming: &Incoming) -> Self {
        let formats = match configured {
            Some(formats) => formats,
            None if incoming.seen.is_empty() => Formats::from_iter([Writes::W3c]),
            None => incoming.seen,
        };
        let templates = FORMATS.iter().filter(|format| formats.contains(**format));
        let templates = templates.map(|format| template(trace, *format)).collect();
        Self { formats, templates }
    }

    /// Writes the headers with the id of the stream's span, and takes away those of other formats, which would say something else. `above` is the
    /// span above the one that the upstream will be told.
    pub fn write(
        &self,
        request: &mut Request,
        trace: &Trace,
        incoming: &Incoming,
        span: SpanId,
        above: Option<SpanId>,
    ) -> Result<()> {
        for template in &self.templates {
            request.set(&template.name, template.with(span))?;
        }
        if self.formats.contains(Writes::W3c) {
            match trace.state.as_str() {
                "" if incoming.has_state => request.remove("tracestate")?,
                "" => {}
                _ if trace.state.is_written() => {}
                state => request.set("tracestate", state)?,
            }
        }
        if self.formats.contains(Writes::B3Multi) {
            request.set("x-b3-traceid", b3::digits(trace.trace_id, trace.width))?;
            match above {
                Some(above) => request.set("x-b3-parentspanid", above.to_string())?,
                None => request.remove("x-b3-parentspanid")?,
            }
            // The flag implies the decision.
            let (set, value, remove) = match trace.decision {
                Decision::Debug => ("x-b3-flags", "1", "x-b3-sampled"),
                Decision::Sampled => ("x-b3-sampled", "1", "x-b3-flags"),
                Decision::NotSampled => ("x-b3-sampled", "0", "x-b3-flags"),
            };
            request.set(set, value)?;
            request.remove(remove)?;
        }
        remove(request, self.formats, incoming)
    }
}

/// Takes away what came in, but for these formats.
pub fn remove(request: &mut Request, but: Formats, incoming: &Incoming) -> Result<()> {
    for format in FORMATS.iter().filter(|format| !but.contains(**format)) {
        let has = incoming.seen.contains(*format);
        match format {
            Writes::W3c => {
                if has {
                    request.remove("traceparent")?;
                }
                if incoming.has_state {
                    request.remove("tracestate")?;
                }
            }
            Writes::B3 if has => request.remove("b3")?,
            Writes::B3Multi if has => B3_MULTI.iter().try_for_each(|name| request.remove(name))?,
            _ => {}
        }
    }
    Ok(())
}

/// The header of a format that says the span that sends the request.
pub fn template(trace: &Trace, format: Writes) -> HeaderTemplate {
    let (name, prefix, suffix) = match format {
        Writes::W3c => {
            let flags = w3c::flags(trace.decision.is_sampled(), trace.random);
            (
                "traceparent",
                ["00-", &b3::digits(trace.trace_id, Width::Full), "-"].concat(),
                ["-", w3c::digits(flags)].concat(),
            )
        }
        Writes::B3 => {
            let decision = match trace.decision {
                Decision::Sampled => "-1",
                Decision::Debug => "-d",
                Decision::NotSampled => "-0",
            };
            ("b3", b3::digits(trace.trace_id, trace.width) + "-", decision.to_owned())
        }
        Writes::B3Multi => ("x-b3-spanid", String::new(), String::new()),
    };
    HeaderTemplate { name: name.to_owned(), prefix, suffix }
}
