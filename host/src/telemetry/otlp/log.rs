//! Log records, as workers make them and as OTLP has them (`opentelemetry/proto/logs/v1/logs.proto`).

use std::borrow::Cow;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    logs::v1::{LogRecord as Wire, ResourceLogs, ScopeLogs, SeverityNumber},
};
use prost::Message;

use crate::telemetry::otlp::{
    record::{Head, Record, Signal},
    value::{Attributes, UnixTime, Value, any_value, key_values, text, weight},
};

/// One entry of a log: of the access log, or of the proxy's own.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// When it happened.
    pub time: UnixTime,
    /// How bad it is.
    pub severity: Severity,
    /// Its text, or a [`Value::Map`] of its parts.
    pub body: Value,
    /// What is known beside the body.
    pub attributes: Attributes,
    /// The trace that it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// The span that it belongs to.
    pub span_id: Option<[u8; 8]>,
    /// OTLP's `event_name`: the class of event that the record is of; empty: of none.
    pub event_name: Cow<'static, str>,
}

/// How bad a log record is. OTLP has four grades of each; these are the first of their four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Severity {
    /// For whoever reads the code.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// Something happened, as it should.
    #[default]
    Info,
    /// Something is not as it should be.
    Warn,
    /// A human must act.
    Error,
    /// The process ends.
    Fatal,
}

impl Record for LogRecord {
    type Message = Wire;
    const SIGNAL: Signal = Signal::Logs;

    fn weight(&self) -> usize {
        [self.body.weight(), self.event_name.len(), weight(&self.attributes)]
            .into_iter()
            .fold(size_of::<Self>(), usize::saturating_add)
    }

    fn into_message(self) -> Wire {
        let (attributes, dropped_attributes_count) = key_values(self.attributes);
        let (number, name) = severity(self.severity);
        Wire {
            time_unix_nano: self.time.0,
            observed_time_unix_nano: self.time.0,
            severity_number: number.into(),
            severity_text: name.to_owned(),
            body: Some(any_value(self.body)),
            attributes,
            dropped_attributes_count,
            trace_id: self.trace_id.map(|id| id.to_vec()).unwrap_or_default(),
            span_id: self.span_id.map(|id| id.to_vec()).unwrap_or_default(),
            event_name: text(self.event_name),
            ..Wire::default()
        }
    }

    fn request(head: &Head, log_records: Vec<Wire>) -> Vec<u8> {
        let scope_logs = vec![ScopeLogs { scope: Some(head.scope()), log_records, ..ScopeLogs::default() }];
        let resource_logs = ResourceLogs { resource: Some(head.resource()), scope_logs, ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![resource_logs] }.encode_to_vec()
    }
}

fn severity(severity: Severity) -> (SeverityNumber, &'static str) {
    match severity {
        Severity::Trace => (SeverityNumber::Trace, "TRACE"),
        Severity::Debug => (SeverityNumber::Debug, "DEBUG"),
        Severity::Info => (SeverityNumber::Info, "INFO"),
        Severity::Warn => (SeverityNumber::Warn, "WARN"),
        Severity::Error => (SeverityNumber::Error, "ERROR"),
        Severity::Fatal => (SeverityNumber::Fatal, "FATAL"),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value;

    use super::*;

    #[test]
    fn a_record_keeps_its_parts() {
        let body = Value::Map(vec![("status".into(), 200_i64.into()), ("path".into(), "/".into())]);
        let record = LogRecord {
            time: UnixTime(5),
            severity: Severity::Warn,
            body,
            attributes: vec![("listener".into(), "edge".into())],
            trace_id: Some([1; 16]),
            span_id: None,
            event_name: "".into(),
        };
        let sent = record.into_message();
        assert_eq!((sent.time_unix_nano, sent.severity_number()), (5, SeverityNumber::Warn));
        assert_eq!((sent.severity_text.as_str(), sent.trace_id.len(), sent.span_id.len()), ("WARN", 16, 0));
        let Some(any_value::Value::KvlistValue(body)) = sent.body.unwrap().value else { panic!("no key-values") };
        assert_eq!(body.values[1].key, "path");
        assert_eq!(sent.attributes[0].key, "listener");
    }
}
