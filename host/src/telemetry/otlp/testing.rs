//! What tests need: records, and a collector that does what it is told ([`collector`]).

pub(crate) mod collector;

use std::{future::Future, pin::Pin, sync::Arc, task::Context};

use data_encoding::BASE64_NOPAD;
use prost::Message;

use crate::telemetry::otlp::{
    log::{LogRecord, Severity},
    metric::{MetricReading, MetricValue, Number},
    record::Head,
    span::{SpanKind, SpanRecord, SpanStatus},
    value::{UnixTime, Value},
};

pub(crate) fn span(name: &str) -> SpanRecord {
    SpanRecord {
        trace_id: [1; 16],
        span_id: [2; 8],
        parent: Some([3; 8]),
        flags: 1,
        trace_state: "a=b".into(),
        name: name.to_owned().into(),
        kind: SpanKind::Server,
        start: UnixTime(1_000),
        end: UnixTime(2_000),
        attributes: vec![
            ("http.request.method".into(), "GET".into()),
            ("http.response.status_code".into(), 200_i64.into()),
            ("cluster".into(), Value::Shared(Arc::from("users"))),
        ],
        events: Vec::new(),
        status: SpanStatus::Unset,
    }
}

pub(crate) fn log(text: &str) -> LogRecord {
    LogRecord {
        time: UnixTime(1_000),
        severity: Severity::Info,
        body: text.to_owned().into(),
        attributes: Vec::new(),
        trace_id: None,
        span_id: None,
        event_name: "".into(),
    }
}

pub(crate) fn counter(name: &str, label: &str, number: i64) -> MetricReading {
    MetricReading {
        name: name.to_owned().into(),
        help: "What it counts.".into(),
        unit: "{request}".into(),
        labels: vec![("label".into(), label.to_owned().into())],
        value: MetricValue::Counter(Number::Integer(number)),
        start: UnixTime(10),
        time: UnixTime(20),
        exemplars: Vec::new(),
    }
}

pub(crate) fn head() -> Head {
    Head::new(vec![("service.name".into(), "fyke".into()), ("host.name".into(), "h".into())], "fyke", "0.1.0")
}

/// Whether a future is done, without a waker.
pub(crate) fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
}

/// `grpc-status-details-bin` with a `RetryInfo`, written down by hand.
pub(crate) fn retry_info(seconds: i64, nanos: i32) -> String {
    #[derive(Clone, PartialEq, Message)]
    struct Pair {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    let nested = |tag: u8, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let info = nested(0x0a, &Pair { seconds, nanos }.encode_to_vec());
    let any = [nested(0x0a, b"type.googleapis.com/google.rpc.RetryInfo"), nested(0x12, &info)].concat();
    BASE64_NOPAD.encode(&nested(0x1a, &any))
}
