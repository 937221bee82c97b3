//! Services for clusters that nobody serves yet: they answer what they were asked.

use std::{collections::HashMap, convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::config::{Config, resolved::ClusterProtocol};

/// How long somebody who listens may take to say so.
const PATIENCE: Duration = Duration::from_millis(200);

/// Echoes by address, with what they speak.
#[derive(Default)]
pub(super) struct Echoes(HashMap<SocketAddr, (ClusterProtocol, JoinHandle<()>)>);

impl Echoes {
    /// Serves every endpoint on this machine that nobody listens on, and says which are new. Ends those that nobody needs any more. Must be
    /// called inside the control plane's runtime.
    pub fn fill(&mut self, config: &Config) -> Vec<SocketAddr> {
        let wanted: HashMap<SocketAddr, ClusterProtocol> = config
            .clusters
            .values()
            .flat_map(|cluster| cluster.endpoints.iter().map(|endpoint| (endpoint.address, cluster.protocol)))
            .filter(|(address, _)| address.ip().is_loopback())
            .collect();
        let needless: Vec<SocketAddr> = self
            .0
            .iter()
            .filter(|(address, (protocol, _))| wanted.get(address) != Some(protocol))
            .map(|(address, _)| *address)
            .collect();
        for (_, echo) in needless.iter().filter_map(|address| self.0.remove(address)) {
            echo.abort();
            // Its port is free when it has ended.
            let _ = tokio::runtime::Handle::current().block_on(echo);
        }
        let mut filled = Vec::new();
        for (address, protocol) in wanted {
            if self.0.contains_key(&address) || std::net::TcpStream::connect_timeout(&address, PATIENCE).is_ok() {
                continue;
            }
            if let Ok(socket) = listen(address) {
                self.0.insert(address, (protocol, tokio::spawn(serve(socket, protocol))));
                filled.push(address);
            }
        }
        filled
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

async fn serve(socket: TcpListener, protocol: ClusterProtocol) {
    while let Ok((stream, _)) = socket.accept().await {
        tokio::spawn(async move {
            // A client that leaves is no news here.
            let _ = match protocol {
                ClusterProtocol::Tcp => bytes(stream).await,
                ClusterProtocol::Http2 => hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await
                    .map_err(std::io::Error::other),
                ClusterProtocol::Http1 | ClusterProtocol::Auto => hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await
                    .map_err(std::io::Error::other),
            };
        });
    }
}

async fn bytes(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await.map(drop)
}

/// What was sent comes back as it was, with its type; a request without a body is told what it was.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (body, kind) = match kind {
        Some(kind) if !body.is_empty() => (body, kind),
        _ => (Bytes::from(text), HeaderValue::from_static("text/plain")),
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
