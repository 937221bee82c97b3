//! Services for clusters that nobody serves yet: they answer what they were asked.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Config, resolved::ClusterProtocol};

/// How long somebody who listens may take to say so.
const PATIENCE: Duration = Duration::from_millis(200);

/// Serves every endpoint on this machine that nobody listens on, and says which. Must be called inside the control plane's runtime.
pub(super) fn fill(config: &Config) -> Vec<SocketAddr> {
    let mut filled = Vec::new();
    for cluster in config.clusters.values() {
        for endpoint in &cluster.endpoints {
            let address = endpoint.address;
            if !address.ip().is_loopback() || std::net::TcpStream::connect_timeout(&address, PATIENCE).is_ok() {
                continue;
            }
            let Ok(socket) = std::net::TcpListener::bind(address) else { continue };
            if socket.set_nonblocking(true).is_ok()
                && let Ok(socket) = TcpListener::from_std(socket)
            {
                tokio::spawn(serve(socket, cluster.protocol));
                filled.push(address);
            }
        }
    }
    filled
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

/// The request, as it arrived.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if !body.is_empty() {
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&body));
        text.push('\n');
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(response)
}
