//! A stream's spans as they are handed over at its end: times by the wall clock, names and attributes after OpenTelemetry's conventions.

use std::borrow::Cow;

use tokio::time::Instant;

use super::{Attempt, CANCELLED, Outcome, Trace, Tracer, new_id};
use crate::{
    clock,
    telemetry::otlp::{
        span::{SpanKind, SpanRecord, SpanStatus},
        value::{Attributes, UnixTime, Value},
    },
    wasm::exchange::{Direction, Exchange, Kind},
};

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
        Outcome::Unknown => {
            add("error.type", CANCELLED.into());
            SpanStatus::Error(Cow::Borrowed(CANCELLED))
        }
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
