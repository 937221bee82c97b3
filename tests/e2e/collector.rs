//! A collector of OpenTelemetry, on a gRPC library that the proxy does not have.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_collector::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value},
    logs::v1::LogRecord,
    metrics::v1::Metric,
    trace::v1::Span,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::support::eventually;

/// What it was sent.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Everything>>);

#[derive(Default)]
struct Everything {
    spans: Vec<Told>,
    /// The last of each name.
    metrics: BTreeMap<String, Metric>,
    logs: Vec<LogRecord>,
}

/// A span, and whose it is.
#[derive(Debug, Clone)]
pub struct Told {
    pub resource: BTreeMap<String, String>,
    pub span: Span,
}

pub struct Collector {
    pub address: SocketAddr,
    received: Received,
    task: JoinHandle<()>,
}

impl Told {
    pub fn attribute(&self, key: &str) -> Option<String> {
        attributes(&self.span.attributes).remove(key)
    }

    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }
}

impl Collector {
    pub async fn new() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let received = Received::default();
        let traces = TraceServiceServer::new(received.clone());
        let metrics = MetricsServiceServer::new(received.clone());
        let logs = LogsServiceServer::new(received.clone());
        let task = tokio::spawn(async move {
            let incoming = TcpIncoming::from(socket);
            tonic::transport::Server::builder()
                .add_service(traces)
                .add_service(metrics)
                .add_service(logs)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self { address, received, task }
    }

    pub fn seen(&self) -> Vec<Told> {
        self.received.0.lock().unwrap().spans.clone()
    }

    /// What it was last told of a metric.
    pub fn metric(&self, name: &str) -> Option<Metric> {
        self.received.0.lock().unwrap().metrics.get(name).cloned()
    }

    pub fn logs(&self) -> Vec<LogRecord> {
        self.received.0.lock().unwrap().logs.clone()
    }

    /// Waits for spans.
    #[track_caller]
    pub fn gets(&self, count: usize) -> impl Future<Output = Vec<Told>> {
        eventually(format!("{count} spans"), async move || Some(self.seen()).filter(|seen| seen.len() >= count))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for spans in request.into_inner().resource_spans {
            let resource = spans.resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default();
            let all = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().spans.extend(all.map(|span| Told { resource: resource.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let metrics = request.into_inner().resource_metrics.into_iter();
        let metrics = metrics.flat_map(|metrics| metrics.scope_metrics).flat_map(|scope| scope.metrics);
        let named = metrics.map(|metric| (metric.name.clone(), metric));
        self.0.lock().unwrap().metrics.extend(named);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Received {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let logs = request.into_inner().resource_logs.into_iter();
        let logs = logs.flat_map(|logs| logs.scope_logs).flat_map(|scope| scope.log_records);
        self.0.lock().unwrap().logs.extend(logs);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

pub fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        any_value::Value::BoolValue(truth) => Some(truth.to_string()),
        other => Some(format!("{other:?}")),
    };
    list.iter().map(|pair| (pair.key.clone(), text(pair).unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
