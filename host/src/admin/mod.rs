//! What operators ask a running proxy over HTTP, and have it do.
//!
//! Every operation, its parameters and its answers are in [`routes`], and from there in `/v1/openapi.json`. Paths begin with the
//! version, `/v1`; those that are older are there without it, too, and mean the same. Probes (`/live`, `/ready`) have no version.
//! Browsers have pages of their own below `/dashboard`, see [`dashboard`]; `/` leads there where `Accept` asks for HTML.
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
mod board;
mod body;
mod browser;
mod bundle;
mod connections;
pub mod dashboard;
mod dashboard_source;
mod endpoint;
mod endpoints;
mod explain;
mod filter_pages;
mod filters;
mod logging;
mod openapi;
mod pages;
mod patience;
mod query;
mod routes;
mod streams;
pub mod token;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use self::{
    access::{Access, Peer, Right},
    body::Body,
    routes::{Found, Id, Operation},
};
pub use self::{
    board::Board,
    connections::serve,
    endpoint::{Endpoint, forget_token, token},
    streams::Streams,
};
use crate::{
    reload::{keeper::Keeper, proxy::Proxy},
    telemetry::{
        gather::Detail,
        logging::Control,
        openmetrics::{self, Format, negotiate},
        prometheus,
    },
};

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
    /// The log of the process.
    pub log: Control,
    /// Answers that go on.
    pub streams: Streams,
    /// Changes that may be asked for: each has a thread, and one is made at a time.
    pub changes: Semaphore,
    /// Uploads that may be under way.
    pub uploads: Semaphore,
    /// Explanations that may be under way: each has a proxy of its own.
    pub explanations: Semaphore,
    /// What the dashboard keeps.
    pub board: Board,
}

/// Answers a request. A connection `is_known` when whoever is at its other end may change something.
async fn answer(admin: &Arc<Admin>, request: Request<Incoming>, peer: Peer, is_known: &AtomicBool) -> Response<Body> {
    let uri = request.uri().clone();
    let found = routes::find(request.method(), uri.path());
    let right = match &found {
        Found::Operation(operation, _) => operation.right,
        Found::Method(_) | Found::Nothing => Right::Read,
    };
    if let Err((status, why)) = admin.access.check(peer, request.headers(), right) {
        let mut response = json(status, &json!({ "error": why }));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        return response;
    }
    if browser::is_ours(uri.path()) {
        // Forms need a session besides, which is looked at there.
        return browser::answer(admin, request, peer).await;
    }
    match found {
        Found::Operation(operation, path) => {
            if operation.right == Right::Change {
                is_known.store(true, Ordering::Relaxed);
            }
            let query = uri.query().unwrap_or_default();
            operate(admin, operation, Asked { path, query, peer }, request).await
        }
        Found::Method(methods) => {
            let mut allowed: Vec<&str> = methods.into_iter().map(Method::as_str).collect();
            if let Some(get) = allowed.iter().position(|method| *method == "GET") {
                allowed.insert(get + 1, "HEAD");
            }
            let allowed = allowed.join(", ");
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
            if let Ok(allowed) = HeaderValue::try_from(allowed) {
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            response
        }
        Found::Nothing => text(StatusCode::NOT_FOUND, format!("no such page; try {}\n", paths())),
    }
}

/// The paths, for people.
fn paths() -> String {
    let mut lines: Vec<String> = Vec::new();
    for operation in routes::ALL {
        let version = if operation.place == routes::Place::Versioned { routes::VERSION } else { "" };
        let method = if operation.method == Method::GET { String::new() } else { format!("{} ", operation.method) };
        lines.push(format!("{method}{version}{}", operation.path));
    }
    lines.join(" ")
}

/// Where somebody asks, and who.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    /// Without the version.
    path: &'a str,
    query: &'a str,
    peer: Peer,
}

async fn operate(
    admin: &Arc<Admin>,
    operation: &Operation,
    asked: Asked<'_>,
    request: Request<Incoming>,
) -> Response<Body> {
    match operation.id {
        Id::Reload | Id::Rollback | Id::Release | Id::Drain | Id::SetLogging | Id::ChangeEndpoint => {
            change(admin, operation.id, asked, None, request).await
        }
        Id::LoadFilter | Id::RemoveFilter | Id::PromoteFilter | Id::AbortFilter | Id::RollbackFilter => {
            match filters::wish(request.method(), asked.path).map(|(name, wish)| (name.into_owned(), wish)) {
                Some(wish) => change(admin, operation.id, asked, Some(wish), request).await,
                None => json(StatusCode::NOT_FOUND, &json!({ "error": "the name of the filter is not UTF-8" })),
            }
        }
        Id::Events => {
            let events = admin.keeper.proxy.registry().events();
            streams::events::answer(&admin.streams, events, request.method(), asked.query, request.headers())
        }
        Id::Explain => {
            let (status, value) = explain::run(admin, asked.query).await;
            json(status, &value)
        }
        Id::Live => streams::rates::answer(&admin.streams, admin, request.method(), asked.query).await,
        Id::Tap => streams::tap::answer(&admin.streams, admin.keeper.proxy.tap(), request.method(), asked.query),
        Id::SupportBundle => {
            // Two at a time are enough, as of uploads: each is in memory.
            let Ok(_turn) = admin.uploads.try_acquire() else {
                let error = "others are being made; ask again in a second";
                return json(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": error }));
            };
            match bundle::answer(admin).await {
                Ok(archive) => {
                    let mut response = text(StatusCode::OK, archive);
                    let headers = response.headers_mut();
                    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
                    let name = "attachment; filename=\"fyke-support.tar.gz\"";
                    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
                    response
                }
                Err(error) => json(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": error.to_string() })),
            }
        }
        Id::Index if browser::wants_page(request.headers()) => browser::redirect(),
        Id::Metrics => metrics(&admin.keeper.proxy, request.headers()),
        id => page(admin, id, asked),
    }
}

/// Makes a change. It goes on when whoever asked has gone, and so it is counted until it is over.
async fn change(
    admin: &Arc<Admin>,
    id: Id,
    asked: Asked<'_>,
    wish: Option<(String, filters::Wish)>,
    request: Request<Incoming>,
) -> Response<Body> {
    let admin = Arc::clone(admin);
    let (path, query, peer) = (asked.path.to_owned(), asked.query.to_owned(), asked.peer);
    let changed = tokio::spawn(async move {
        let turn = admin.changes.try_acquire();
        // A drain waits for nothing, and should be possible when nothing else is.
        if turn.is_err() && id != Id::Drain {
            let error = "too many changes wait already; ask again in a second";
            return (StatusCode::TOO_MANY_REQUESTS, json!({ "error": error }));
        }
        let who = match peer {
            Peer::Socket => "admin (unix socket)".to_owned(),
            Peer::Address(address) => format!("admin ({address})"),
        };
        match (actions::unchanged_since(&admin, request.headers()), wish) {
            (Err(answer), _) => answer,
            (Ok(()), Some(wish)) => filters::run(&admin, wish, &query, request, who).await,
            (Ok(()), None) if id == Id::SetLogging => logging::run(&admin, request, &who).await,
            (Ok(()), None) if id == Id::ChangeEndpoint => endpoints::run(&admin, &path, &query, who).await,
            (Ok(()), None) => actions::run(&admin, &path, &query, who).await,
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

fn page(admin: &Admin, id: Id, asked: Asked<'_>) -> Response<Body> {
    let proxy = &admin.keeper.proxy;
    let (snapshot, registry) = (proxy.snapshot(), proxy.registry());
    let draining = admin.draining.load(Ordering::Relaxed);
    let ok = |value| json(StatusCode::OK, &value);
    match id {
        Id::IsLive => text(StatusCode::OK, "live\n"),
        Id::Ready if draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        Id::Ready => {
            let planes = admin.keeper.control_planes.states();
            match planes.iter().find(|(_, plane)| !plane.is_settled()) {
                Some((name, _)) => {
                    text(StatusCode::SERVICE_UNAVAILABLE, format!("control plane {name} has not said what there is\n"))
                }
                None => text(StatusCode::OK, "ready\n"),
            }
        }
        Id::Status => {
            let now = pages::Circumstances {
                draining,
                overload: proxy.overload(),
                last_change: admin.keeper.audit.last_change(),
                log_levels: admin.log.levels.changes().len(),
                control_planes: admin.keeper.control_planes.states(),
                pinned: admin.keeper.pinned(),
            };
            ok(pages::status(&snapshot, registry, &now))
        }
        Id::Config => {
            let mut response = ok(pages::config(&snapshot));
            if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", snapshot.generation)) {
                response.headers_mut().insert(header::ETAG, tag);
            }
            response
        }
        Id::Generations => ok(pages::generations(&proxy.history(), &snapshot)),
        Id::Audit => ok(pages::audit(&admin.keeper.audit.entries())),
        Id::Clusters => json(StatusCode::OK, &pages::Clusters { snapshot: &snapshot, registry }),
        Id::Filters => ok(filter_pages::filters(&snapshot, registry)),
        Id::Filter => {
            match filters::named(asked.path).and_then(|name| filter_pages::filter(&snapshot, registry, &name)) {
                Some(value) => ok(value),
                None => json(StatusCode::NOT_FOUND, &json!({ "error": "there is no such filter" })),
            }
        }
        Id::Logging => ok(logging::page(&admin.log.levels)),
        Id::OpenApi => ok(openapi::document()),
        Id::Index => text(StatusCode::OK, format!("fyke admin: {} /dashboard\n", paths())),
        // `operate` has answered those.
        _ => text(StatusCode::NOT_FOUND, format!("no such page; try {}\n", paths())),
    }
}

/// In the format that the scraper asks for.
fn metrics(proxy: &Proxy, fields: &HeaderMap) -> Response<Body> {
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

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Body> {
    // Only maps with keys that are no texts could fail.
    let body = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut response = text(status, body + "\n");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
