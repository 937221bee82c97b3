//! Spans as workers record them, and as OTLP has them (`opentelemetry/proto/trace/v1/trace.proto`).

use std::borrow::Cow;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status},
};
use prost::Message;

use crate::telemetry::otlp::{
    record::{Head, Record, Signal},
    value::{Attributes, TEXT_BYTES, UnixTime, key_values, text, weight},
};

/// Most events of one span, as `OTEL_SPAN_EVENT_COUNT_LIMIT`. The rest is counted in `dropped_events_count`.
pub const EVENTS: usize = 128;

/// A finished span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanRecord {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// The span above it; `None`: it is the root of its trace.
    pub parent: Option<[u8; 8]>,
    /// OTLP's `Span.flags`: W3C's trace flags in the low byte, bit 8 if it is known whether the parent is remote, bit 9
    /// if it is. Zero: unknown.
    pub flags: u32,
    /// W3C's `tracestate`. One longer than 4 KiB is left out, because half of one is not legal.
    pub trace_state: Cow<'static, str>,
    /// What is done, of low cardinality: `GET /users/{id}`.
    pub name: Cow<'static, str>,
    /// Which side of which call.
    pub kind: SpanKind,
    /// When it began.
    pub start: UnixTime,
    /// When it ended. Never exported as earlier than `start`: a wall clock can be set back meanwhile.
    pub end: UnixTime,
    /// What is known of it.
    pub attributes: Attributes,
    /// What happened in it.
    pub events: Vec<SpanEvent>,
    /// How it ended.
    pub status: SpanStatus,
}

/// OTLP's `SpanKind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpanKind {
    /// Within the process.
    #[default]
    Internal,
    /// A request that was received.
    Server,
    /// A request that was sent.
    Client,
    /// A message that was sent.
    Producer,
    /// A message that was received.
    Consumer,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SpanStatus {
    /// Nobody said.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Badly; with why.
    Error(Cow<'static, str>),
}

/// Something that happened within a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub time: UnixTime,
    /// What.
    pub name: Cow<'static, str>,
    /// More about it.
    pub attributes: Attributes,
}

impl Record for SpanRecord {
    type Message = Span;
    const SIGNAL: Signal = Signal::Traces;

    fn weight(&self) -> usize {
        let status = match &self.status {
            SpanStatus::Error(text) => text.len(),
            SpanStatus::Unset | SpanStatus::Ok => 0,
        };
        let events = self.events.iter().fold(0_usize, |sum, event| {
            sum.saturating_add(size_of::<SpanEvent>())
                .saturating_add(event.name.len())
                .saturating_add(weight(&event.attributes))
        });
        [self.trace_state.len(), self.name.len(), status, events, weight(&self.attributes)]
            .into_iter()
            .fold(size_of::<Self>(), usize::saturating_add)
    }

    fn into_message(self) -> Span {
        let (attributes, dropped_attributes_count) = key_values(self.attributes);
        let dropped_events_count = u32::try_from(self.events.len().saturating_sub(EVENTS)).unwrap_or(u32::MAX);
        Span {
            trace_id: self.trace_id.to_vec(),
            span_id: self.span_id.to_vec(),
            trace_state: if self.trace_state.len() > TEXT_BYTES {
                String::new()
            } else {
                self.trace_state.into_owned()
            },
            parent_span_id: self.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
            flags: self.flags,
            name: text(self.name),
            kind: wire_kind(self.kind).into(),
            start_time_unix_nano: self.start.0,
            end_time_unix_nano: self.end.max(self.start).0,
            attributes,
            dropped_attributes_count,
            events: self.events.into_iter().take(EVENTS).map(wire_event).collect(),
            dropped_events_count,
            status: wire_status(self.status),
            ..Span::default()
        }
    }

    fn request(head: &Head, spans: Vec<Span>) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans { scope: Some(head.scope()), spans, ..ScopeSpans::default() }];
        let resource_spans = ResourceSpans { resource: Some(head.resource()), scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
    }
}

fn wire_kind(kind: SpanKind) -> span::SpanKind {
    match kind {
        SpanKind::Internal => span::SpanKind::Internal,
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Consumer => span::SpanKind::Consumer,
    }
}

fn wire_event(event: SpanEvent) -> span::Event {
    let (attributes, dropped_attributes_count) = key_values(event.attributes);
    span::Event { time_unix_nano: event.time.0, name: text(event.name), attributes, dropped_attributes_count }
}

fn wire_status(status: SpanStatus) -> Option<Status> {
    let (code, message) = match status {
        SpanStatus::Unset => return None,
        SpanStatus::Ok => (status::StatusCode::Ok, String::new()),
        SpanStatus::Error(why) => (status::StatusCode::Error, text(why)),
    };
    Some(Status { message, code: code.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::testing::span;

    #[test]
    fn a_span_keeps_everything_it_was_given() {
        let mut record = span("GET /users/{id}");
        record.status = SpanStatus::Error("reset".into());
        record.events =
            vec![SpanEvent { time: UnixTime(7), name: "retry".into(), attributes: vec![("n".into(), 2_i64.into())] }];
        let sent = record.clone().into_message();
        assert_eq!(sent.trace_id, record.trace_id);
        assert_eq!(sent.span_id, record.span_id);
        assert_eq!(sent.parent_span_id, record.parent.unwrap());
        assert_eq!(sent.trace_state, "a=b");
        assert_eq!(sent.kind(), span::SpanKind::Server);
        assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (record.start.0, record.end.0));
        assert_eq!(sent.attributes.len(), record.attributes.len());
        assert_eq!(sent.events[0].name, "retry");
        let status = sent.status.unwrap();
        assert_eq!((status.code(), status.message.as_str()), (status::StatusCode::Error, "reset"));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_span_of_negative_length() {
        let mut record = span("a");
        (record.start, record.end) = (UnixTime(9), UnixTime(3));
        assert_eq!(record.into_message().end_time_unix_nano, 9);
    }

    #[test]
    fn too_much_is_left_out_and_counted() {
        let mut record = span("a");
        record.trace_state = "x".repeat(TEXT_BYTES + 1).into();
        record.name = "n".repeat(TEXT_BYTES + 1).into();
        let event = SpanEvent { time: UnixTime(1), name: "e".into(), attributes: Vec::new() };
        record.events = vec![event; EVENTS + 5];
        let sent = record.into_message();
        assert_eq!((sent.trace_state.len(), sent.name.len()), (0, TEXT_BYTES));
        assert_eq!((sent.events.len(), sent.dropped_events_count), (EVENTS, 5));
    }
}
