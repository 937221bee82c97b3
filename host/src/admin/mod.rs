//! What operators ask a running proxy over HTTP. Reading only; changing things comes with reload.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200 while the process runs |
//! | `/ready` | 200 while it accepts traffic, 503 while it drains |
//! | `/config` | the configuration as it was written, secrets masked, and the generation |
//! | `/clusters` | clusters with endpoints, settings and counts |
//! | `/filters` | filters with module, callbacks and counts |
//! | `/metrics` | Prometheus text |
//!
//! Errors: 404 with the list of paths, 405 for anything but GET and HEAD.

mod pages;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::{reload::keeper::Keeper, telemetry::prometheus};

/// What the admin endpoint reads.
pub struct Admin {
    /// What runs, and changes it.
    pub keeper: Arc<Keeper>,
    /// Whether the proxy is draining.
    pub draining: AtomicBool,
}

/// Binds the endpoint.
///
/// # Errors
/// Of the operating system.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Serves until it is aborted.
pub async fn serve(admin: Arc<Admin>, socket: TcpListener) {
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("admin endpoint cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&admin, request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!("admin connection ended: {error}");
            }
        });
    }
}

fn answer(admin: &Admin, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let proxy = &admin.keeper.proxy;
    let (snapshot, registry) = (proxy.snapshot(), proxy.registry());
    match path {
        "/live" => text(StatusCode::OK, "live\n"),
        "/ready" if admin.draining.load(Ordering::Relaxed) => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/ready" => text(StatusCode::OK, "ready\n"),
        "/config" => json(&pages::config(&snapshot)),
        "/clusters" => json(&pages::clusters(&snapshot, registry)),
        "/filters" => json(&pages::filters(&snapshot, registry)),
        "/metrics" => {
            let mut response = text(StatusCode::OK, prometheus::render(registry));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
            response
        }
        "/" => text(StatusCode::OK, "fyke admin: /ready /live /config /clusters /filters /metrics\n"),
        _ => text(StatusCode::NOT_FOUND, "no such page; try /ready /live /config /clusters /filters /metrics\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, format!("{value:#}\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
