//! What the exporter needs to know about a kind of record, and the three kinds of signals.
//!
//! A [`Record`] is what a worker makes: cheap, owned, not yet OTLP. The control plane turns it into its OTLP message
//! when it takes it out of the queue, and many messages into one request with the resource and one scope around them.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
        trace::v1::ExportTraceServiceResponse,
    },
    common::v1::InstrumentationScope,
    resource::v1::Resource,
};
use prost::{DecodeError, Message};

use crate::telemetry::otlp::value::{Attributes, key_values};

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points of metrics.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// Its word in labels of metrics and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// `/package.Service/Method` of gRPC.
    pub(crate) fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// Path of HTTP (OTLP specification, "OTLP/HTTP Request").
    pub(crate) fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// Reads `Export…ServiceResponse`: what the collector did not want although it took the request.
    pub(crate) fn partial_success(self, response: &[u8]) -> Result<PartialSuccess, DecodeError> {
        let (rejected, message) = match self {
            Self::Traces => ExportTraceServiceResponse::decode(response)?
                .partial_success
                .map(|partial| (partial.rejected_spans, partial.error_message)),
            Self::Metrics => ExportMetricsServiceResponse::decode(response)?
                .partial_success
                .map(|partial| (partial.rejected_data_points, partial.error_message)),
            Self::Logs => ExportLogsServiceResponse::decode(response)?
                .partial_success
                .map(|partial| (partial.rejected_log_records, partial.error_message)),
        }
        .unwrap_or_default();
        Ok(PartialSuccess { rejected: u64::try_from(rejected).unwrap_or(0), message })
    }
}

/// OTLP's `partial_success`: all zero and empty where everything was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartialSuccess {
    /// Records that were refused for good. A collector may claim anything; see [`crate::telemetry::otlp::statistics`].
    pub rejected: u64,
    /// Why, or, with nothing refused, a warning.
    pub message: String,
}

/// A record that can be queued and exported.
pub trait Record: Send + 'static {
    /// Its message inside of a request.
    type Message: Message + Default + Send;
    /// What it belongs to.
    const SIGNAL: Signal;

    /// Roughly the memory that it occupies, in bytes; called by the worker that pushes it.
    fn weight(&self) -> usize;

    /// Its message, with everything cut to its limits.
    fn into_message(self) -> Self::Message;

    /// A whole request.
    fn request(head: &Head, messages: Vec<Self::Message>) -> Vec<u8>;
}

/// Who exports: the resource (the process) and the one instrumentation scope.
#[derive(Debug, Clone)]
pub struct Head {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Head {
    /// `attributes` describe the process (`service.name`, `service.instance.id`, `host.name`: OpenTelemetry's resource
    /// conventions); `scope` and `version` the part of it that measures.
    #[must_use]
    pub fn new(attributes: Attributes, scope: &'static str, version: &'static str) -> Self {
        let (attributes, dropped_attributes_count) = key_values(attributes);
        Self {
            resource: Resource { attributes, dropped_attributes_count, ..Resource::default() },
            scope: InstrumentationScope {
                name: scope.to_owned(),
                version: version.to_owned(),
                ..InstrumentationScope::default()
            },
        }
    }

    pub(crate) fn resource(&self) -> Resource {
        self.resource.clone()
    }

    pub(crate) fn scope(&self) -> InstrumentationScope {
        self.scope.clone()
    }

    /// At most so much of a request is not records.
    pub(crate) fn bytes(&self) -> usize {
        // The resource, the scope, and the lengths of the two messages around the records.
        let lengths = LENGTH_BYTES.saturating_mul(4);
        self.resource.encoded_len().saturating_add(self.scope.encoded_len()).saturating_add(lengths)
    }
}

/// Tag and length of a nested message, at most: fields below 16, messages below 4 GiB.
pub(crate) const LENGTH_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;

    use super::*;

    #[test]
    fn a_partial_success_is_read_and_a_negative_one_is_none() {
        let told = |rejected_log_records| {
            let partial = ExportLogsPartialSuccess { rejected_log_records, error_message: "full".into() };
            let response = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
            Signal::Logs.partial_success(&response).unwrap()
        };
        assert_eq!(told(3), PartialSuccess { rejected: 3, message: "full".into() });
        assert_eq!(told(-3).rejected, 0);
        assert_eq!(Signal::Traces.partial_success(b"").unwrap(), PartialSuccess::default());
        assert!(Signal::Metrics.partial_success(b"<html>").is_err());
    }
}
