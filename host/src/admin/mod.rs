//! What operators ask a running proxy over HTTP, and have it do.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200 while the process runs |
//! | `/ready` | 200 while it accepts traffic, 503 while it drains |
//! | `/status` | generation, listeners, whether it drains |
//! | `/config` | the configuration as it was written, secrets masked, and the generation |
//! | `/generations` | those that can be gone back to |
//! | `/audit` | who changed what, and how that went |
//! | `/clusters` | clusters with endpoints, settings and counts |
//! | `/filters` | filters with module, callbacks and counts |
//! | `/metrics` | Prometheus text |
//! | `POST /reload` | reads the configuration again; `?dry_run=true` only says what would change |
//! | `POST /rollback` | has the generation before run again, or `?to=N` |
//! | `POST /drain` | ends the process as SIGTERM does |
//!
//! `POST` with `If-Match: "N"` changes nothing unless generation N runs. Who may do what: [`access`].
//!
//! Errors: 401 and 403 of [`access`]; 404 with the list of paths, and for a generation that is not kept; 405 for other methods; 409
//! when there is nothing to go back to; 412 for a stale `If-Match`; 422 with the report for a configuration that is refused.

pub mod access;
mod actions;
mod pages;

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, PermissionsExt as _},
    },
    path::PathBuf,
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
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Notify,
};

use self::access::{Access, Peer, Right};
use crate::{
    config::resolved::{self, AdminAddress},
    reload::{handover::AdminSocket, keeper::Keeper},
    telemetry::prometheus,
};

const PATHS: &str =
    "/ready /live /status /config /generations /audit /clusters /filters /metrics, POST /reload /rollback /drain";

/// What the admin endpoint reads and changes.
pub struct Admin {
    /// What runs, and changes it.
    pub keeper: Arc<Keeper>,
    /// Who may.
    pub access: Access,
    /// Whether the proxy is draining.
    pub draining: AtomicBool,
    /// Told when somebody asks it to.
    pub drain: Notify,
}

/// A bound endpoint.
pub enum Endpoint {
    /// At an address.
    Tcp(TcpListener),
    /// A socket in the file system, removed when this is dropped, unless another process has it by then.
    Unix(UnixListener, PathBuf, Arc<AtomicBool>),
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Self::Unix(_, path, handed_over) = self
            && !handed_over.load(Ordering::Relaxed)
        {
            let _ = fs::remove_file(path);
        }
    }
}

impl Endpoint {
    /// Takes what another process has bound, or binds it. A socket that nobody listens on any more is replaced. `handed_over` says
    /// later that another process has it.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn open(
        settings: &resolved::Admin,
        inherited: Option<AdminSocket>,
        handed_over: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let unix = |socket: std::os::unix::net::UnixListener, path: &PathBuf| {
            socket.set_nonblocking(true)?;
            Ok(Self::Unix(UnixListener::from_std(socket)?, path.clone(), Arc::clone(handed_over)))
        };
        match (inherited, &settings.address) {
            (Some(AdminSocket::Tcp(socket)), _) => {
                socket.set_nonblocking(true)?;
                return TcpListener::from_std(socket).map(Self::Tcp);
            }
            (Some(AdminSocket::Unix(socket)), AdminAddress::Unix(path)) => return unix(socket, path),
            _ => {}
        }
        match &settings.address {
            AdminAddress::Tcp(address) => {
                let socket = std::net::TcpListener::bind(address)?;
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket).map(Self::Tcp)
            }
            AdminAddress::Unix(path) => {
                let stale = fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
                    && std::os::unix::net::UnixStream::connect(path).is_err();
                if stale {
                    fs::remove_file(path)?;
                }
                let socket = std::os::unix::net::UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                unix(socket, path)
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> AdminAddress {
        match self {
            Self::Tcp(socket) => {
                AdminAddress::Tcp(socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))))
            }
            Self::Unix(_, path, _) => AdminAddress::Unix(path.clone()),
        }
    }

    /// A copy of its socket, for another process.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn copy(&self) -> io::Result<AdminSocket> {
        match self {
            Self::Tcp(socket) => socket.as_fd().try_clone_to_owned().map(|copy| AdminSocket::Tcp(copy.into())),
            Self::Unix(socket, ..) => socket.as_fd().try_clone_to_owned().map(|copy| AdminSocket::Unix(copy.into())),
        }
    }
}

/// The token of an endpoint: what is in its file, which is made when it is missing. A socket needs none.
///
/// # Errors
/// The file that cannot be read or made, and why.
pub fn token(settings: &resolved::Admin, bound: &AdminAddress) -> Result<String, (PathBuf, io::Error)> {
    let AdminAddress::Tcp(address) = bound else { return Ok(String::new()) };
    let file = settings.token_file.clone().unwrap_or_else(|| access::default_token_file(*address));
    access::token(&file).map_err(|error| (file, error))
}

/// Serves until it is aborted.
pub async fn serve(admin: Arc<Admin>, endpoint: Endpoint) {
    loop {
        let accepted = match &endpoint {
            Endpoint::Tcp(socket) => socket.accept().await.map(|(stream, remote)| {
                tokio::spawn(connection(Arc::clone(&admin), stream, Peer::Address(remote.ip())));
            }),
            Endpoint::Unix(socket, ..) => socket.accept().await.map(|(stream, _)| {
                tokio::spawn(connection(Arc::clone(&admin), stream, Peer::Socket));
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!("admin endpoint cannot accept: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn connection(admin: Arc<Admin>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(answer(&admin, &request, peer).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("admin connection ended: {error}");
    }
}

async fn answer(admin: &Arc<Admin>, request: &Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let changes = request.method() == Method::POST && actions::is_action(path);
    let right = if changes { Right::Change } else { Right::Read };
    if let Err((status, why)) = admin.access.check(peer, request.headers(), right) {
        let mut response = json(status, &json!({ "error": why }));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        return response;
    }
    if changes {
        let who = match peer {
            Peer::Socket => "admin (unix socket)".to_owned(),
            Peer::Address(address) => format!("admin ({address})"),
        };
        let query = request.uri().query().unwrap_or_default();
        let (status, value) = actions::run(admin, path, query, request.headers(), who).await;
        return json(status, &value);
    }
    let allowed: &'static str = match (request.method(), actions::is_action(path)) {
        (_, true) => "POST",
        (&Method::GET | &Method::HEAD, false) => return page(admin, path),
        _ => "GET, HEAD",
    };
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn page(admin: &Admin, path: &str) -> Response<Full<Bytes>> {
    let proxy = &admin.keeper.proxy;
    let (snapshot, registry) = (proxy.snapshot(), proxy.registry());
    let draining = admin.draining.load(Ordering::Relaxed);
    let ok = |value| json(StatusCode::OK, &value);
    match path {
        "/live" => text(StatusCode::OK, "live\n"),
        "/ready" if draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/ready" => text(StatusCode::OK, "ready\n"),
        "/status" => ok(pages::status(&snapshot, draining)),
        "/config" => {
            let mut response = ok(pages::config(&snapshot));
            if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", snapshot.generation)) {
                response.headers_mut().insert(header::ETAG, tag);
            }
            response
        }
        "/generations" => ok(pages::generations(&proxy.history(), &snapshot)),
        "/audit" => ok(pages::audit(&admin.keeper.audit.entries())),
        "/clusters" => ok(pages::clusters(&snapshot, registry)),
        "/filters" => ok(pages::filters(&snapshot, registry)),
        "/metrics" => {
            let mut response = text(StatusCode::OK, prometheus::render(registry));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
            response
        }
        "/" => text(StatusCode::OK, format!("fyke admin: {PATHS}\n")),
        _ => text(StatusCode::NOT_FOUND, format!("no such page; try {PATHS}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = text(status, format!("{value:#}\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
