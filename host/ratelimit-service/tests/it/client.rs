//! Clients that share nothing with the server: tonic for gRPC, and HTTP/1.1 by hand.

use std::net::SocketAddr;

use fyke_ratelimit_service::messages::{
    Code, Entry, HealthCheckRequest, HealthCheckResponse, RateLimitDescriptor, RateLimitRequest, RateLimitResponse,
    UInt64Value,
};
use http::uri::PathAndQuery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// A client of the protocol.
#[derive(Clone)]
pub struct Client(Channel);

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self(super::soon(endpoint.connect()).await.unwrap())
    }

    pub async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone());
        super::soon(grpc.ready()).await.map_err(|error| Status::unknown(error.to_string()))?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        super::soon(grpc.unary(tonic::Request::new(request), path, codec)).await.map(tonic::Response::into_inner)
    }

    pub async fn ask(&self, request: RateLimitRequest) -> Result<RateLimitResponse, Status> {
        self.call("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", request).await
    }

    /// Whether a hit passes.
    pub async fn passes(&self, domain: &str, entries: &[(&str, &str)]) -> bool {
        self.ask(request(domain, &[entries])).await.unwrap().overall_code() == Code::Ok
    }

    pub async fn health(&self, service: &str) -> Result<HealthCheckResponse, Status> {
        self.call("/grpc.health.v1.Health/Check", HealthCheckRequest { service: service.to_owned() }).await
    }
}

pub fn request(domain: &str, descriptors: &[&[(&str, &str)]]) -> RateLimitRequest {
    RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: descriptors.iter().map(|entries| descriptor(entries)).collect(),
        hits_addend: 0,
    }
}

pub fn descriptor(entries: &[(&str, &str)]) -> RateLimitDescriptor {
    let entries = entries.iter().map(|(key, value)| Entry { key: (*key).to_owned(), value: (*value).to_owned() });
    RateLimitDescriptor { entries: entries.collect(), limit: None, hits_addend: None }
}

pub fn with_hits(entries: &[(&str, &str)], hits: u64) -> RateLimitDescriptor {
    RateLimitDescriptor { hits_addend: Some(UInt64Value { value: hits }), ..descriptor(entries) }
}

/// A response of HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends bytes, and reads what comes until the connection is closed.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    super::soon(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    })
    .await
}

pub async fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    let text =
        format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    raw(address, text.as_bytes()).await
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    http(address, "GET", path, "").await
}

/// The value of a metric, with its labels as they are written.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}
