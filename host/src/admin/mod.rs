//! What operators ask a running proxy over HTTP, and have it do.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200 while the process runs |
//! | `/ready` | 200 while it accepts traffic, 503 while it drains |
//! | `/status` | generation, listeners, whether it drains, what is used of its limits and what is done about it |
//! | `/config` | the configuration as it was written, secrets masked, and the generation |
//! | `/generations` | those that can be gone back to |
//! | `/audit` | who changed what, and how that went |
//! | `/clusters` | clusters with endpoints, settings and counts |
//! | `/filters` | filters with module, version, generation, callbacks, counts and canary; `/filters/NAME` is one of them |
//! | `/metrics` | Prometheus text, or OpenMetrics with exemplars where `Accept` asks for it |
//! | `POST /reload` | reads the configuration again; `?dry_run=true` only says what would change |
//! | `POST /rollback` | has the generation before run again, or `?to=N` |
//! | `POST /drain` | ends the process as SIGTERM does |
//!
//! What callers can change of one filter is in [`filters`].
//!
//! A change with `If-Match: "N"` changes nothing unless generation N runs. Who may do what: [`access`]; where the token
//! is: [`token`](mod@token).
//!
//! Errors: 400 for parameters that are not understood; 401 and 403 of [`access`]; 404 with the list of paths, and for a
//! generation that is not kept; 405 for other methods; 409 when there is nothing to go back to; 408 and 413 for an
//! upload that takes too long or is too large; 412 for a stale `If-Match`; 422 with the report for a configuration or a
//! module that is refused; 429 while too many changes wait.

pub mod access;
mod actions;
mod connections;
mod endpoint;
mod filter_pages;
mod filters;
mod pages;
mod patience;
pub mod token;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use self::access::{Access, Peer, Right};
pub use self::{
    connections::serve,
    endpoint::{Endpoint, forget_token, token},
};
use crate::{
    reload::{keeper::Keeper, proxy::Proxy},
    telemetry::{
        gather::Detail,
        openmetrics::{self, Format, negotiate},
        prometheus,
    },
};

const PATHS: &str = "/ready /live /status /config /generations /audit /clusters /filters /metrics, POST /reload /rollback /drain, PUT /filters/NAME";

/// Changes that wait or are made at a time.
pub const CHANGES: usize = 8;

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
    /// Changes that may be asked for: each has a thread, and one is made at a time.
    pub changes: Semaphore,
    /// Uploads that may be under way.
    pub uploads: Semaphore,
}

/// Answers a request. A connection `is_known` when whoever is at its other end may change something.
async fn answer(
    admin: &Arc<Admin>,
    request: Request<Incoming>,
    peer: Peer,
    is_known: &AtomicBool,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let wish = filters::wish(request.method(), path).map(|(name, wish)| (name.into_owned(), wish));
    let changes = wish.is_some() || (request.method() == Method::POST && actions::is_action(path));
    let right = if changes { Right::Change } else { Right::Read };
    if let Err((status, why)) = admin.access.check(peer, request.headers(), right) {
        let mut response = json(status, &json!({ "error": why }));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        return response;
    }
    if changes {
        is_known.store(true, Ordering::Relaxed);
        return change(admin, request, wish, peer).await;
    }
    let allowed: &'static str = match request.method() {
        _ if actions::is_action(path) => "POST",
        &Method::GET | &Method::HEAD => return page(admin, path, request.headers()),
        _ if path.starts_with("/filters/") => "GET, HEAD, PUT, DELETE, POST",
        _ => "GET, HEAD",
    };
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Makes a change. It goes on when whoever asked has gone, and so it is counted until it is over.
async fn change(
    admin: &Arc<Admin>,
    request: Request<Incoming>,
    wish: Option<(String, filters::Wish)>,
    peer: Peer,
) -> Response<Full<Bytes>> {
    let admin = Arc::clone(admin);
    let changed = tokio::spawn(async move {
        let uri = request.uri().clone();
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let turn = admin.changes.try_acquire();
        // A drain waits for nothing, and should be possible when nothing else is.
        if turn.is_err() && path != "/drain" {
            let error = "too many changes wait already; ask again in a second";
            return (StatusCode::TOO_MANY_REQUESTS, json!({ "error": error }));
        }
        let who = match peer {
            Peer::Socket => "admin (unix socket)".to_owned(),
            Peer::Address(address) => format!("admin ({address})"),
        };
        match (actions::unchanged_since(&admin, request.headers()), wish) {
            (Err(answer), _) => answer,
            (Ok(()), Some(wish)) => filters::run(&admin, wish, query, request, who).await,
            (Ok(()), None) => actions::run(&admin, path, query, who).await,
        }
    });
    let (status, value) = changed
        .await
        .unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error.to_string() })));
    let mut response = json(status, &value);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn page(admin: &Admin, path: &str, fields: &HeaderMap) -> Response<Full<Bytes>> {
    let proxy = &admin.keeper.proxy;
    let (snapshot, registry) = (proxy.snapshot(), proxy.registry());
    let draining = admin.draining.load(Ordering::Relaxed);
    let ok = |value| json(StatusCode::OK, &value);
    match path {
        "/live" => text(StatusCode::OK, "live\n"),
        "/ready" if draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/ready" => text(StatusCode::OK, "ready\n"),
        "/status" => ok(pages::status(&snapshot, draining, proxy.overload())),
        "/config" => {
            let mut response = ok(pages::config(&snapshot));
            if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", snapshot.generation)) {
                response.headers_mut().insert(header::ETAG, tag);
            }
            response
        }
        "/generations" => ok(pages::generations(&proxy.history(), &snapshot)),
        "/audit" => ok(pages::audit(&admin.keeper.audit.entries())),
        "/clusters" => json(StatusCode::OK, &pages::Clusters { snapshot: &snapshot, registry }),
        "/filters" => ok(filter_pages::filters(&snapshot, registry)),
        _ if path.starts_with("/filters/") => {
            match filters::named(path).and_then(|name| filter_pages::filter(&snapshot, registry, &name)) {
                Some(value) => ok(value),
                None => json(StatusCode::NOT_FOUND, &json!({ "error": "there is no such filter" })),
            }
        }
        "/metrics" => metrics(proxy, fields),
        "/" => text(StatusCode::OK, format!("fyke admin: {PATHS}\n")),
        _ => text(StatusCode::NOT_FOUND, format!("no such page; try {PATHS}\n")),
    }
}

/// In the format that the scraper asks for.
fn metrics(proxy: &Proxy, fields: &HeaderMap) -> Response<Full<Bytes>> {
    let format = negotiate(fields);
    let body = match format {
        Format::Text => prometheus::render(proxy.registry(), proxy.metrics().more()),
        Format::OpenMetrics => openmetrics::render(proxy.metrics().read(Detail::Exposed)),
    };
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    // Only maps with keys that are no texts could fail.
    let body = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut response = text(status, body + "\n");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
