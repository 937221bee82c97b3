//! Records to a collector of OpenTelemetry.
//!
//! A record that is a JSON object is a map there, with its fields by name; any other is text. Fields `trace_id` and `span_id` that are such
//! ids say to which span the record belongs. The sink's thread only queues: what cannot be sent is dropped and counted by the exporter.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::{
    config::resolved::LogCollector,
    telemetry::{
        export::{Task, environment, resource},
        otlp::{
            exporter::Exporter,
            log::{LogRecord, Severity},
            queue::Queue,
            record::Head,
            statistics::Statistics,
            value::{Attributes, Value},
        },
    },
};

/// How long the last records may take when the sink ends.
const GRACE: Duration = Duration::from_secs(2);
/// How deep a record's JSON is looked into; what is deeper is text.
const DEPTH: usize = 4;

/// An exporter, and what it takes records from. Dropped, it sends what waits.
pub(super) struct Sending {
    sink: Arc<str>,
    to: String,
    queue: Queue<LogRecord>,
    statistics: Arc<Statistics>,
    task: Option<Task>,
}

impl Sending {
    /// Starts an exporter on the runtime of the thread that calls.
    pub(super) fn start(sink: &str, settings: &LogCollector) -> Result<Self, String> {
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let otlp = &settings.collector.settings;
        let statistics = Arc::<Statistics>::default();
        let queue = Queue::new(otlp.queue, otlp.batch, Arc::clone(&statistics));
        let head = Head::new(resource(&settings.service, &settings.node), "fyke", env!("CARGO_PKG_VERSION"));
        let exporter = Exporter::new(otlp.clone(), head, queue.clone(), environment(&settings.collector))
            .map_err(|error| error.to_string())?;
        let task = Task::spawn(&runtime, |stop| exporter.run(stop));
        let to = otlp.endpoint.to_string();
        Ok(Self { sink: sink.into(), to, queue, statistics, task: Some(task) })
    }

    pub(super) fn statistics(&self) -> Arc<Statistics> {
        Arc::clone(&self.statistics)
    }

    /// The collector, for messages.
    pub(super) fn to(&self) -> String {
        self.to.clone()
    }

    /// Queues every line.
    pub(super) fn send(&self, lines: &[u8]) {
        let time = crate::clock::wall().into();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let (body, trace_id, span_id) = read(line);
            // What became of it is counted there.
            let _ = self.queue.push(LogRecord {
                time,
                severity: Severity::Info,
                body,
                attributes: vec![("fyke.sink".into(), Value::Shared(Arc::clone(&self.sink)))],
                trace_id,
                span_id,
                event_name: "fyke.access".into(),
            });
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.end(std::time::Instant::now() + GRACE);
        }
    }
}

type Read = (Value, Option<[u8; 16]>, Option<[u8; 8]>);

fn read(line: &[u8]) -> Read {
    let text = || (Value::Raw(Bytes::copy_from_slice(line)), None, None);
    if line.first() != Some(&b'{') {
        return text();
    }
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(line) else { return text() };
    let id = |name: &str| fields.get(name)?.as_str().map(str::to_owned);
    let (trace, span) = (id("trace_id").and_then(|id| bytes(&id)), id("span_id").and_then(|id| bytes(&id)));
    (Value::Map(map(fields, DEPTH)), trace, span)
}

fn map(fields: serde_json::Map<String, serde_json::Value>, depth: usize) -> Attributes {
    fields.into_iter().map(|(name, field)| (name.into(), value(field, depth))).collect()
}

fn value(json: serde_json::Value, depth: usize) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Bool(truth) => Value::Boolean(truth),
        Json::String(text) => Value::from(text),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Integer(whole),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::from(number.to_string()),
        },
        Json::Null => Value::from(""),
        json if depth == 0 => Value::from(json.to_string()),
        Json::Array(values) => Value::List(values.into_iter().map(|json| value(json, depth - 1)).collect()),
        Json::Object(fields) => Value::Map(map(fields, depth - 1)),
    }
}

/// Bytes that are written as lower or upper case hexadecimal digits, not all of them zero (W3C Trace Context, section 3.2.2).
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (place, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *place = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (bytes != [0; N]).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_object_is_a_map_and_anything_else_is_text() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let line = format!(
            r#"{{"status":200,"took":0.5,"path":"/","tls":null,"trace_id":"{trace}","span_id":"x","a":[1,{{"b":true}}]}}"#
        );
        let (body, trace_id, span_id) = read(line.as_bytes());
        let Value::Map(fields) = body else { panic!("no map") };
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        assert_eq!(field("status"), Some(Value::Integer(200)));
        assert_eq!(field("took"), Some(Value::Float(0.5)));
        assert_eq!(field("path"), Some(Value::from("/".to_owned())));
        let inner = Value::Map(vec![("b".into(), Value::Boolean(true))]);
        assert_eq!(field("a"), Some(Value::List(vec![Value::Integer(1), inner])));
        assert_eq!((trace_id.map(|id| id[0]), span_id), (Some(0x0a), None));
        for text in [&b"GET / 200"[..], b"{", b"[1]", b"\xff{}"] {
            assert_eq!(read(text), (Value::Raw(Bytes::copy_from_slice(text)), None, None));
        }
    }

    #[test]
    fn nesting_ends_as_text() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        let (mut body, _, _) = read(deep.as_bytes());
        let mut depth = 0;
        while let Value::Map(mut fields) = body {
            depth += 1;
            body = fields.remove(0).1;
        }
        assert_eq!(depth, DEPTH + 1);
        assert!(matches!(body, Value::Text(_)));
    }

    #[test]
    fn ids_are_hexadecimal_and_not_zero() {
        assert_eq!(bytes::<8>("b7ad6b7169203331"), Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
        for wrong in ["", "0000000000000000", "b7ad6b716920333", "b7ad6b716920333g", "+7ad6b7169203331"] {
            assert_eq!(bytes::<8>(wrong), None, "{wrong}");
        }
    }
}
