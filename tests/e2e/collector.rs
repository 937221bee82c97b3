//! A collector of OpenTelemetry, on a gRPC library that the proxy does not have.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_collector::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::support::eventually;

/// What it was sent.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<Told>>>);

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
        let service = TraceServiceServer::new(received.clone());
        let task = tokio::spawn(async move {
            let incoming = TcpIncoming::from(socket);
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, received, task }
    }

    pub fn seen(&self) -> Vec<Told> {
        self.received.0.lock().unwrap().clone()
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
            self.0.lock().unwrap().extend(all.map(|span| Told { resource: resource.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
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
