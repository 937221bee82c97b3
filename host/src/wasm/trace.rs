//! The spans of a stream: its own, those of its filters, and one for each attempt to reach an upstream (`fyke.span.*`,
//! `host/docs/extensions.md`).
//!
//! A filter says that a stream belongs to a trace, and whether it is sampled; the host makes the spans. What is not sampled costs an
//! identifier. What is sampled is kept with the stream and handed over when it ends, whole: nothing is exported of a stream that still runs.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

use super::{
    exchange::{Direction, Exchange, Kind},
    foreign::Arguments,
};
use crate::{
    clock,
    telemetry::otlp::{
        queue::Queue,
        span::{SpanKind, SpanRecord, SpanStatus},
        value::{Attributes, UnixTime, Value},
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
/// Longest `tracestate`, in bytes.
const MOST_STATE: usize = 8 * 1024;
/// The tag that is a span's name.
const NAME: &str = "span.name";
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

#[derive(Debug, Default)]
enum Outcome {
    /// Nobody waits for its end any more.
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
                let span = trace.spans.get_mut(usize::try_from(handle.checked_sub(1)?).ok()?)?;
                span.ended.get_or_insert_with(|| (Instant::now(), text(args.0)));
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
        let state = text(args.bytes()?);
        if trace_id == [0; 16] || flags & !1 != 0 || state.len() > MOST_STATE {
            return None;
        }
        let mut templates = Vec::new();
        while !args.0.is_empty() {
            let (name, prefix, suffix) = (args.bytes()?, args.bytes()?, args.bytes()?);
            let name = HeaderName::from_bytes(name).ok().filter(may_be_written)?;
            // Whatever hexadecimal digits come between.
            let whole = [prefix, b"0", suffix].concat();
            if HeaderValue::from_bytes(&whole).is_err() || templates.len() >= MOST_TEMPLATES {
                return None;
            }
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
        })
    }

    /// Whether its spans are kept.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    fn start(&mut self, filter: String, name: &[u8]) -> u32 {
        if !self.recorded || self.spans.len() >= MOST_SPANS {
            return UNRECORDED;
        }
        let (id, began) = (new_id(), Instant::now());
        self.spans.push(FilterSpan { id, filter, name: text(name), began, tags: Vec::new(), ended: None });
        u32::try_from(self.spans.len()).unwrap_or(UNRECORDED)
    }

    fn tag(&mut self, handle: u32, key: String, value: Value) -> Option<()> {
        let (name, tags) = match handle.checked_sub(1) {
            None => (&mut self.name, &mut self.tags),
            Some(place) => {
                let span = self.spans.get_mut(usize::try_from(place).ok()?)?;
                (&mut span.name, &mut span.tags)
            }
        };
        if key == NAME {
            if let Value::Text(text) = value {
                *name = text.into_owned();
            }
        } else if let Some((_, old)) = tags.iter_mut().find(|(known, _)| *known == key) {
            *old = value;
        } else if tags.len() < MOST_TAGS {
            tags.push((Cow::Owned(key), value));
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

    /// An attempt has come to an answer's head, or to nothing. `stands`: the rest of its answer is the stream's.
    pub fn attempted(&mut self, number: u32, result: &Result<Answered, UpstreamError>) {
        let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.number == number) else { return };
        match result {
            Ok(answered) => {
                attempt.address = Some(answered.lease.address());
                attempt.outcome = Outcome::Status(answered.response.status().as_u16());
            }
            Err(error) => {
                attempt.address = error.address();
                attempt.outcome = Outcome::Failed(error.label());
                attempt.ended = Some(Instant::now());
            }
        }
    }

    /// An attempt's answer is not wanted: another one is made, or stands.
    pub fn discarded(&mut self, number: u32) {
        if let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.number == number) {
            attempt.ended.get_or_insert_with(Instant::now);
        }
    }
}

/// Hands the spans of a stream over, at its end.
pub fn report(tracer: Option<&Tracer>, exchange: &mut Exchange, now: Instant) {
    let (Some(tracer), Some(trace)) = (tracer, exchange.trace.take_if(|trace| trace.recorded)) else { return };
    let wall = clock::wall();
    // Both clocks are read at once; the rest is told by how long ago it was.
    let unix = |moment: Instant| {
        let ago = now.saturating_duration_since(moment);
        UnixTime::from(wall.checked_sub(ago).unwrap_or(wall))
    };
    let root = (trace.trace_id, trace.span_id);
    let Trace { trace_id, span_id, parent, state, name, tags, spans, visits, attempts, .. } = *trace;
    let state: Cow<'static, str> = Cow::Owned(state);
    let status = exchange.response_head.as_ref().map(|head| head.status.as_u16());
    let failed = exchange.reset || status.is_none_or(|status| status >= 500);
    let mut attributes = of_stream(exchange, status);
    attributes.extend(tags);
    tracer.queue.push(SpanRecord {
        trace_id,
        span_id,
        parent,
        flags: SAMPLED | IS_REMOTE_KNOWN | if parent.is_some() { IS_REMOTE } else { 0 },
        trace_state: state.clone(),
        name: Cow::Owned(if name.is_empty() { name_of(exchange) } else { name }),
        kind: SpanKind::Server,
        start: unix(exchange.started),
        end: unix(now),
        attributes,
        events: Vec::new(),
        status: if failed && exchange.kind == Kind::Http {
            SpanStatus::Error(exchange.details.clone())
        } else {
            SpanStatus::Unset
        },
    });
    let child = |id, name, kind, (began, ended): (Instant, Option<Instant>), attributes, status| SpanRecord {
        trace_id: root.0,
        span_id: id,
        parent: Some(root.1),
        flags: SAMPLED | IS_REMOTE_KNOWN,
        trace_state: state.clone(),
        name,
        kind,
        start: unix(began),
        end: unix(ended.unwrap_or(now)),
        attributes,
        events: Vec::new(),
        status,
    };
    for span in spans {
        let (ended, error) = span.ended.unwrap_or((now, String::new()));
        let mut attributes = vec![("fyke.filter".into(), Value::from(span.filter))];
        attributes.extend(span.tags);
        let status = if error.is_empty() { SpanStatus::Unset } else { SpanStatus::Error(error.into()) };
        let times = (span.began, Some(ended));
        tracer.queue.push(child(span.id, span.name.into(), SpanKind::Internal, times, attributes, status));
    }
    for visit in visits {
        let long = visit.ended.unwrap_or(now).duration_since(visit.began) >= tracer.filter_threshold;
        if long {
            let way = if visit.direction == Direction::Request { "request" } else { "response" };
            let name = format!("filter {} {way}", visit.filter).into();
            let attributes = vec![("fyke.filter".into(), Value::from(visit.filter))];
            let times = (visit.began, visit.ended);
            tracer.queue.push(child(new_id(), name, SpanKind::Internal, times, attributes, SpanStatus::Unset));
        }
    }
    for attempt in attempts {
        let (attributes, status) = of_attempt(exchange, &attempt);
        let name = Cow::Owned(exchange.request_head.method.to_string());
        let times = (attempt.began, attempt.ended);
        tracer.queue.push(child(attempt.id, name, SpanKind::Client, times, attributes, status));
    }
}

/// OTLP's `Span.flags`.
const SAMPLED: u32 = 1;
const IS_REMOTE_KNOWN: u32 = 1 << 8;
const IS_REMOTE: u32 = 1 << 9;

/// OpenTelemetry's semantic conventions for HTTP server spans, and what is Fyke's own.
fn of_stream(exchange: &Exchange, status: Option<u16>) -> Attributes {
    let connection = &exchange.connection;
    let mut attributes: Attributes = vec![("fyke.listener".into(), Value::from(connection.listener.to_string()))];
    let mut add = |key: &'static str, value: Value| attributes.push((key.into(), value));
    if let Some((client, _)) = connection.client() {
        add("client.address", client.ip().to_string().into());
        add("client.port", i64::from(client.port()).into());
    }
    if let Some(cluster) = &exchange.routed_to {
        add("fyke.cluster", cluster.name.to_string().into());
    }
    if !exchange.details.is_empty() {
        add("fyke.response.details", exchange.details.to_string().into());
    }
    if exchange.kind == Kind::Tcp {
        return attributes;
    }
    let head = &exchange.request_head;
    add("http.request.method", head.method.to_string().into());
    add("url.path", head.path.path().to_owned().into());
    add("url.scheme", head.scheme.to_string().into());
    add("server.address", String::from_utf8_lossy(head.authority()).into_owned().into());
    let version = match exchange.version {
        http::Version::HTTP_2 => "2",
        http::Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    add("network.protocol.version", version.into());
    if let Some(status) = status {
        add("http.response.status_code", i64::from(status).into());
    }
    if let Some(selection) = exchange.selection.as_ref().filter(|selection| !selection.route.action.name.is_empty()) {
        add("fyke.route", selection.route.action.name.clone().into());
    }
    attributes
}

fn of_attempt(exchange: &Exchange, attempt: &Attempt) -> (Attributes, SpanStatus) {
    let mut attributes: Attributes =
        vec![("http.request.method".into(), Value::from(exchange.request_head.method.to_string()))];
    let mut add = |key: &'static str, value: Value| attributes.push((key.into(), value));
    if let Some(cluster) = &exchange.routed_to {
        add("fyke.cluster", cluster.name.to_string().into());
    }
    if let Some(address) = attempt.address {
        add("server.address", address.ip().to_string().into());
        add("server.port", i64::from(address.port()).into());
    }
    if attempt.number > 1 {
        add("http.request.resend_count", i64::from(attempt.number - 1).into());
    }
    let status = match &attempt.outcome {
        Outcome::Status(status) => {
            add("http.response.status_code", i64::from(*status).into());
            // Of a client's span, 4xx is an error too.
            if *status >= 400 { SpanStatus::Error(Cow::Borrowed("")) } else { SpanStatus::Unset }
        }
        Outcome::Failed(label) => {
            add("error.type", (*label).into());
            SpanStatus::Error(Cow::Borrowed(label))
        }
        Outcome::Unknown => SpanStatus::Error(Cow::Borrowed("cancelled")),
    };
    (attributes, status)
}

/// Of low cardinality, as the conventions want it: the route is, the path is not.
fn name_of(exchange: &Exchange) -> String {
    let route = exchange.selection.as_ref().map(|selection| selection.route.action.name.as_str());
    match (exchange.kind, route.filter(|route| !route.is_empty())) {
        (Kind::Tcp, _) => "connection".to_owned(),
        (Kind::Http, Some(route)) => format!("{} {route}", exchange.request_head.method),
        (Kind::Http, None) => exchange.request_head.method.to_string(),
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
mod tests {
    use super::*;

    fn bytes(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_le_bytes(), text].concat()
    }

    fn stream(trace: u8, flags: u8, state: &[u8], templates: &[[&[u8]; 3]]) -> Vec<u8> {
        let mut args = vec![trace; 16];
        args.extend([0; 8]);
        args.push(flags);
        args.extend(bytes(state));
        args.extend(templates.iter().flatten().flat_map(|part| bytes(part)));
        args
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        let template: [&[u8]; 3] = [b"traceparent", b"00-", b"-01"];
        assert!(Trace::parse(&stream(1, 1, b"a=b", &[template]), None).is_some());
        for args in [
            stream(0, 1, b"", &[]),
            stream(1, 2, b"", &[]),
            stream(1, 1, &[b'a'; MOST_STATE + 1], &[]),
            stream(1, 1, b"", &[[b"host", b"", b""]]),
            stream(1, 1, b"", &[[b"Content-Length", b"", b""]]),
            stream(1, 1, b"", &[[b":path", b"", b""]]),
            stream(1, 1, b"", &[[b"x", b"a\r\nb: ", b""]]),
            stream(1, 1, b"", &[template; MOST_TEMPLATES + 1]),
            stream(1, 1, b"", &[template]).split_last().unwrap().1.to_vec(),
            Vec::new(),
        ] {
            assert!(Trace::parse(&args, None).is_none(), "{args:?}");
        }
    }

    #[test]
    fn without_anybody_who_takes_spans_nothing_is_kept() {
        let mut trace = Trace::parse(&stream(1, 1, b"", &[]), None).unwrap();
        assert!(trace.sampled && !trace.is_recorded());
        assert_eq!(trace.start("f".to_owned(), b"work"), UNRECORDED);
        trace.enters("f", Direction::Request);
        trace.attempts(1, &mut HeaderMap::new());
        assert!(trace.visits.is_empty() && trace.attempts.is_empty());
    }

    #[test]
    fn every_attempt_is_named_in_its_headers_and_all_are_bounded() {
        let mut trace = Trace::parse(&stream(1, 1, b"", &[[b"x-span", b"<", b">"]]), None).unwrap();
        trace.recorded = true;
        let mut seen = std::collections::BTreeSet::new();
        for number in 1..=1000 {
            let mut fields = HeaderMap::new();
            trace.attempts(number, &mut fields);
            seen.extend(fields.get("x-span").map(|value| value.to_str().unwrap().to_owned()));
            trace.enters("f", Direction::Response);
            trace.start("f".to_owned(), b"s");
            trace.tag(0, format!("k{number}"), Value::Integer(1)).unwrap();
        }
        assert_eq!((seen.len(), trace.attempts.len()), (MOST_RECORDED, MOST_RECORDED));
        assert!(seen.contains(&format!("<{}>", hex(&trace.attempts[7].id))));
        assert_eq!((trace.visits.len(), trace.spans.len(), trace.tags.len()), (MOST_RECORDED, MOST_SPANS, MOST_TAGS));
        assert!(trace.tag(65, String::new(), Value::Integer(1)).is_none(), "there is no such span");
        trace.tag(1, NAME.to_owned(), Value::from("better".to_owned())).unwrap();
        assert_eq!(trace.spans[0].name, "better");
    }

    #[test]
    fn values_have_kinds() {
        let value = |bytes: &[u8]| value(&mut Arguments(bytes));
        assert_eq!(value(b"\0text"), Some(Value::from("text".to_owned())));
        assert_eq!(value(&[&[1][..], &(-5i64).to_le_bytes()].concat()), Some(Value::Integer(-5)));
        assert_eq!(value(&[2, 1]), Some(Value::Boolean(true)));
        assert_eq!(value(&[&[3][..], &1.5f64.to_le_bytes()].concat()), Some(Value::Float(1.5)));
        assert!(value(&[1, 0]).is_none() && value(&[4, 0]).is_none() && value(&[]).is_none());
    }
}
