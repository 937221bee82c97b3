//! The spans of a stream: its own, those of its filters, and one for each attempt to reach an upstream (`fyke.span.*`,
//! `host/docs/extensions.md`).
//!
//! A filter says that a stream belongs to a trace, and whether it is sampled; the host makes the spans. What is not sampled costs an
//! identifier. What is sampled is kept with the stream and handed over when it ends, whole: nothing is exported of a stream that still runs.

mod report;

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

pub use report::report;

use super::{
    exchange::{Direction, Exchange},
    foreign::Arguments,
};
use crate::{
    telemetry::otlp::{
        queue::Queue,
        span::SpanRecord,
        value::{Attributes, Value},
    },
    upstream::{UpstreamError, dispatch::Answered},
};

/// Most spans of the filters of one stream.
pub const MOST_SPANS: usize = 64;
/// Most tags of one span.
const MOST_TAGS: usize = 64;
/// Most headers that are written for each attempt.
const MOST_TEMPLATES: usize = 16;
/// Most attempts and visits that are recorded: a stream that is sent more often is recorded as far as that.
const MOST_RECORDED: usize = 64;
/// Longest text of a span (a name, a tag's key or value, an error), in bytes; what is longer is cut. A template that is longer is refused.
const MOST_TEXT: usize = 4 * 1024;
/// Most bytes of names, tags and templates that filters may give to one stream; what does not fit is left out.
const MOST_BYTES: usize = 256 * 1024;
/// What is kept of an error in any case: that there was one.
const LEAST_ERROR: usize = 32;
/// Longest `tracestate`, in bytes.
const MOST_STATE: usize = 8 * 1024;
/// The tag that is a span's name.
const NAME: &str = "span.name";
/// The label of an attempt that another one has made needless, or that the stream did not wait for.
pub const CANCELLED: &str = "cancelled";
/// What `fyke.span.start.v1` gives where nothing is recorded.
pub const UNRECORDED: u32 = u32::MAX;

/// Where spans go, and which are worth it. One for each worker and generation.
#[derive(Debug, Clone)]
pub struct Tracer {
    /// Takes finished spans.
    pub queue: Queue<SpanRecord>,
    /// From 0 to 1: share of the traces that are recorded where nobody has decided before. For filters to read.
    pub sample: f64,
    /// A filter that holds a stream for at least this long gets a span. Default 1 ms.
    pub filter_threshold: Duration,
}

/// What is known of a stream's trace.
#[derive(Debug)]
pub struct Trace {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
    /// There is somebody who takes its spans.
    recorded: bool,
    sampled: bool,
    state: String,
    templates: Vec<Template>,
    /// Empty: nobody has given it one.
    name: String,
    tags: Attributes,
    spans: Vec<FilterSpan>,
    visits: Vec<Visit>,
    attempts: Vec<Attempt>,
    /// Bytes that filters have given.
    held: usize,
}

/// A header that tells an endpoint which span it is called from.
#[derive(Debug)]
struct Template {
    name: HeaderName,
    prefix: Vec<u8>,
    suffix: Vec<u8>,
}

/// A span that a filter made.
#[derive(Debug)]
struct FilterSpan {
    id: [u8; 8],
    filter: String,
    name: String,
    began: Instant,
    tags: Attributes,
    ended: Option<(Instant, String)>,
}

/// A filter had the headers of a direction.
#[derive(Debug)]
struct Visit {
    filter: String,
    direction: Direction,
    began: Instant,
    ended: Option<Instant>,
}

/// The request was sent once.
#[derive(Debug)]
struct Attempt {
    id: [u8; 8],
    number: u32,
    began: Instant,
    ended: Option<Instant>,
    address: Option<SocketAddr>,
    outcome: Outcome,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Outcome {
    /// Under way, or nobody waits for its end any more.
    #[default]
    Unknown,
    Status(u16),
    Failed(&'static str),
}

/// `fyke.span.*` on a stream. `None`: the arguments are wrong, or it is too late.
pub(super) fn call(
    exchange: &mut Exchange,
    index: usize,
    tracer: Option<&Tracer>,
    name: &[u8],
    args: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    match name {
        b"fyke.span.stream.v1" => {
            if exchange.trace.is_some() || exchange.response_head.is_some() {
                return None;
            }
            let trace = Trace::parse(args, tracer)?;
            out.extend_from_slice(&trace.span_id);
            exchange.trace = Some(Box::new(trace));
        }
        b"fyke.span.start.v1" => {
            let filter = exchange.filters.get(index)?.plugin.settings.name.clone();
            let handle = match &mut exchange.trace {
                Some(trace) => trace.start(filter, args),
                None => UNRECORDED,
            };
            out.extend_from_slice(&handle.to_le_bytes());
        }
        b"fyke.span.tag.v1" => {
            let mut args = Arguments(args);
            let handle = args.u32()?;
            let (key, value) = (text(args.bytes()?), value(&mut args)?);
            if let Some(trace) = exchange.trace.as_mut().filter(|trace| trace.recorded && handle != UNRECORDED) {
                trace.tag(handle, key, value)?;
            }
        }
        b"fyke.span.end.v1" => {
            let mut args = Arguments(args);
            let handle = args.u32()?;
            if let Some(trace) = exchange.trace.as_mut().filter(|trace| trace.recorded && handle != UNRECORDED) {
                trace.end(handle, args.0)?;
            }
        }
        _ => return None,
    }
    Some(())
}

/// `fyke.trace.id`, `fyke.trace.span_id` and `fyke.trace.sampled`.
pub(super) fn property(exchange: &Exchange, part: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(trace) = &exchange.trace else { return false };
    match part {
        b"id" => out.extend_from_slice(hex(&trace.trace_id).as_bytes()),
        b"span_id" => out.extend_from_slice(hex(&trace.span_id).as_bytes()),
        b"sampled" => out.push(u8::from(trace.sampled)),
        _ => return false,
    }
    true
}

impl Trace {
    fn parse(args: &[u8], tracer: Option<&Tracer>) -> Option<Self> {
        let mut args = Arguments(args);
        let trace_id: [u8; 16] = args.take(16)?.try_into().ok()?;
        let parent: [u8; 8] = args.take(8)?.try_into().ok()?;
        let flags = *args.take(1)?.first()?;
        let state = String::from_utf8_lossy(args.bytes()?).into_owned();
        if trace_id == [0; 16] || flags & !1 != 0 || state.len() > MOST_STATE {
            return None;
        }
        let mut templates = Vec::new();
        let mut held = 0;
        while !args.0.is_empty() {
            let (name, prefix, suffix) = (args.bytes()?, args.bytes()?, args.bytes()?);
            let name = HeaderName::from_bytes(name).ok().filter(may_be_written)?;
            // Whatever hexadecimal digits come between.
            let whole = [prefix, b"0", suffix].concat();
            let too_long = name.as_str().len() > MOST_TEXT || whole.len() > MOST_TEXT;
            if HeaderValue::from_bytes(&whole).is_err() || too_long || templates.len() >= MOST_TEMPLATES {
                return None;
            }
            held += name.as_str().len() + whole.len();
            templates.push(Template { name, prefix: prefix.to_vec(), suffix: suffix.to_vec() });
        }
        let sampled = flags & 1 != 0;
        Some(Self {
            trace_id,
            span_id: new_id(),
            parent: Some(parent).filter(|parent| *parent != [0; 8]),
            recorded: sampled && tracer.is_some(),
            sampled,
            state,
            templates,
            name: String::new(),
            tags: Vec::new(),
            spans: Vec::new(),
            visits: Vec::new(),
            attempts: Vec::new(),
            held,
        })
    }

    /// Whether its spans are kept.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// The trace, and the stream's span in it, where somebody can find them: they make a good example.
    #[must_use]
    pub fn example(&self) -> Option<([u8; 16], [u8; 8])> {
        self.recorded.then_some((self.trace_id, self.span_id))
    }

    fn start(&mut self, filter: String, name: &[u8]) -> u32 {
        if !self.recorded || self.spans.len() >= MOST_SPANS {
            return UNRECORDED;
        }
        let (id, began, name) = (new_id(), Instant::now(), text(name));
        if !self.hold(name.len()) {
            return UNRECORDED;
        }
        self.spans.push(FilterSpan { id, filter, name, began, tags: Vec::new(), ended: None });
        u32::try_from(self.spans.len()).unwrap_or(UNRECORDED)
    }

    /// Takes so many bytes of what filters may give. `false`: there is no room for them.
    fn hold(&mut self, bytes: usize) -> bool {
        let fits = self.held.saturating_add(bytes) <= MOST_BYTES;
        if fits {
            self.held += bytes;
        }
        fits
    }

    fn tag(&mut self, handle: u32, key: String, value: Value) -> Option<()> {
        let mut held = self.held;
        let (name, tags) = match handle.checked_sub(1) {
            None => (&mut self.name, &mut self.tags),
            Some(place) => {
                let span = self.spans.get_mut(usize::try_from(place).ok()?)?;
                (&mut span.name, &mut span.tags)
            }
        };
        // What takes another's place frees its room, if it finds room itself.
        let mut changes = |gone: usize, comes: usize| {
            let next = held.saturating_sub(gone).saturating_add(comes);
            let fits = next <= MOST_BYTES;
            if fits {
                held = next;
            }
            fits
        };
        if key == NAME {
            if let Value::Text(text) = value
                && changes(name.len(), text.len())
            {
                *name = text.into_owned();
            }
        } else if let Some((_, old)) = tags.iter_mut().find(|(known, _)| *known == key) {
            if changes(size(old), size(&value)) {
                *old = value;
            }
        } else if tags.len() < MOST_TAGS && changes(0, key.len() + size(&value)) {
            tags.push((Cow::Owned(key), value));
        }
        self.held = held;
        Some(())
    }

    /// A filter's span ends, with an error where there is a text.
    fn end(&mut self, handle: u32, error: &[u8]) -> Option<()> {
        let place = usize::try_from(handle.checked_sub(1)?).ok()?;
        if self.spans.get(place)?.ended.is_none() {
            let mut error = text(error);
            cut(&mut error, MOST_BYTES.saturating_sub(self.held).max(LEAST_ERROR));
            self.held += error.len();
            self.spans.get_mut(place)?.ended = Some((Instant::now(), error));
        }
        Some(())
    }

    /// A filter is shown the headers of a direction.
    pub fn enters(&mut self, filter: &str, direction: Direction) {
        if self.recorded && self.visits.len() < MOST_RECORDED {
            self.visits.push(Visit { filter: filter.to_owned(), direction, began: Instant::now(), ended: None });
        }
    }

    /// The headers go on.
    pub fn leaves(&mut self, filter: &str, direction: Direction) {
        let open = |visit: &&mut Visit| visit.ended.is_none() && visit.direction == direction && visit.filter == filter;
        if self.recorded
            && let Some(visit) = self.visits.iter_mut().rev().find(open)
        {
            visit.ended = Some(Instant::now());
        }
    }

    /// An answer takes the place of what filters hold: none of them holds anything any more.
    pub fn replied(&mut self) {
        for visit in &mut self.visits {
            visit.ended.get_or_insert_with(Instant::now);
        }
    }

    /// The request is sent for the `number`th time, with these headers.
    pub fn attempts(&mut self, number: u32, fields: &mut HeaderMap) {
        if !self.recorded || self.attempts.len() >= MOST_RECORDED {
            return;
        }
        let (id, began) = (new_id(), Instant::now());
        for template in &self.templates {
            let value = [&*template.prefix, hex(&id).as_bytes(), &*template.suffix].concat();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                fields.insert(template.name.clone(), value);
            }
        }
        self.attempts.push(Attempt { id, number, began, ended: None, address: None, outcome: Outcome::Unknown });
    }

    /// The newest attempt of this number that is not over: behind a redirect they are numbered anew.
    fn attempt(&mut self, number: u32) -> Option<&mut Attempt> {
        self.attempts.iter_mut().rev().find(|attempt| attempt.number == number && attempt.ended.is_none())
    }

    /// An attempt has a connection.
    pub fn reached(&mut self, number: u32, address: SocketAddr) {
        if let Some(attempt) = self.attempt(number) {
            attempt.address = Some(address);
        }
    }

    /// An attempt has come to an answer's head, or to nothing.
    pub fn attempted(&mut self, number: u32, result: &Result<Answered, UpstreamError>) {
        let Some(attempt) = self.attempt(number) else { return };
        match result {
            Ok(answered) => {
                attempt.address = Some(answered.lease.address());
                attempt.outcome = Outcome::Status(answered.response.status().as_u16());
            }
            Err(error) => {
                attempt.address = error.address().or(attempt.address);
                attempt.outcome = Outcome::Failed(error.label());
                attempt.ended = Some(Instant::now());
            }
        }
    }

    /// An attempt's answer is not wanted: another one is made, or stands.
    pub fn discarded(&mut self, number: u32) {
        if let Some(attempt) = self.attempt(number) {
            attempt.ended = Some(Instant::now());
        }
    }

    /// Nobody waits any more for the attempts that have come to nothing yet; `why` is the label.
    pub fn gave_up(&mut self, why: &'static str) {
        let open = |attempt: &&mut Attempt| attempt.ended.is_none() && attempt.outcome == Outcome::Unknown;
        for attempt in self.attempts.iter_mut().filter(open) {
            attempt.outcome = Outcome::Failed(why);
            attempt.ended = Some(Instant::now());
        }
    }

    /// The request goes elsewhere: no attempt that was made is the stream's answer.
    pub fn redirected(&mut self) {
        for attempt in &mut self.attempts {
            attempt.ended.get_or_insert_with(Instant::now);
        }
    }
}

/// Framing and where the request goes are not for a tracer to change.
fn may_be_written(name: &HeaderName) -> bool {
    let not = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
    ];
    !not.contains(name)
}

fn value(args: &mut Arguments<'_>) -> Option<Value> {
    let kind = *args.take(1)?.first()?;
    let rest = std::mem::take(&mut args.0);
    Some(match kind {
        0 => Value::from(text(rest)),
        1 => Value::Integer(i64::from_le_bytes(rest.try_into().ok()?)),
        2 => Value::Boolean(<[u8; 1]>::try_from(rest).ok()? != [0]),
        3 => Value::Float(f64::from_le_bytes(rest.try_into().ok()?)),
        _ => return None,
    })
}

/// Text of a filter's, as far as it is kept.
fn text(bytes: &[u8]) -> String {
    // A few bytes more, so that the cut is made where a character ends.
    let mut text = String::from_utf8_lossy(bytes.get(..MOST_TEXT + 4).unwrap_or(bytes)).into_owned();
    cut(&mut text, MOST_TEXT);
    text
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// What a tag's value counts.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        _ => size_of::<Value>(),
    }
}

/// Never zero: that is none (W3C Trace Context, section 3.2.2.4).
fn new_id() -> [u8; 8] {
    fastrand::u64(1..).to_be_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}

#[cfg(test)]
mod tests;
