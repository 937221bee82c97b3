//! Requests of browsers: the dashboard's pages, what keeps them up to date, and its forms.
//!
//! Reading needs what reading always needs. A form needs a session besides, which the token opens, and the secret of that
//! session; what it asks for is made by the code that the other paths use.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::Value;

use super::{
    Admin,
    access::Peer,
    actions::{self, Answer},
    body::Body,
    dashboard::{
        action::{self, Action},
        model::Viewer,
        route::{self, Post, Refused, Wish},
    },
    dashboard_source::Host,
    endpoints,
    filters::{self, Parameters, Upload},
    json, text,
};
use crate::reload::endpoints::{EndpointChange, Weight};

/// Whether a request is the dashboard's to answer.
pub(super) fn is_ours(path: &str) -> bool {
    route::is_ours(path)
}

/// Whether whoever asks for this would rather have a page than text.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    value(headers, &header::ACCEPT).contains("text/html")
}

/// The way to the dashboard.
pub(super) fn redirect() -> Response<Body> {
    let mut response = text(StatusCode::SEE_OTHER, Bytes::new());
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/dashboard"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Answers a request of somebody who may read.
pub(super) async fn answer(admin: &Arc<Admin>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let viewer = admin.board.viewer(peer, value(request.headers(), &header::COOKIE));
    match *request.method() {
        Method::POST => post(admin, request, peer, viewer).await,
        Method::GET if request.uri().path() == route::LIVE => live(admin, &request, viewer).await,
        Method::GET | Method::HEAD => {
            let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
            let known = value(request.headers(), &header::IF_NONE_MATCH).to_owned();
            aside(admin, move |host| {
                let known = Some(known.as_str()).filter(|known| !known.is_empty());
                route::respond(&route::Request { path_and_query: &target, if_none_match: known, viewer: &viewer }, host)
            })
            .await
        }
        _ => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD, POST\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            response
        }
    }
}

/// Server-sent events, until the browser goes.
async fn live(admin: &Arc<Admin>, request: &Request<Incoming>, viewer: Viewer) -> Response<Body> {
    let Some((head, feed)) = route::feed(request.uri().query().unwrap_or_default(), viewer) else {
        return text(StatusCode::BAD_REQUEST, "`page` is the path of a page of the dashboard\n");
    };
    let admin = Arc::clone(admin);
    let followed = tokio::task::spawn_blocking(move || admin.board.follow(feed, &Host::new(&admin))).await;
    match followed {
        Ok(Some(receiver)) => {
            let mut response = whole(head);
            *response.body_mut() = Body::Stream(receiver);
            response
        }
        Ok(None) => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// A form.
async fn post(admin: &Arc<Admin>, request: Request<Incoming>, peer: Peer, viewer: Viewer) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let [content_type, accept, cookies] =
        [header::CONTENT_TYPE, header::ACCEPT, header::COOKIE].map(|name| value(&head.headers, &name).to_owned());
    // Modules are read for those only who may load them, and of few at a time.
    let most = if viewer.csrf.is_some() { action::most(&content_type) } else { action::FORM };
    let turn = if most > action::FORM { admin.uploads.acquire().await.ok() } else { None };
    let body = match filters::received(body, most).await {
        Ok(body) => body,
        Err((status, value)) => return json(status, &value),
    };
    let form = (path, content_type, accept.clone(), viewer.clone());
    let wish = blocking(admin, move |host| {
        let (path, content_type, accept, viewer) = &form;
        route::post(&Post { path, content_type, accept, body: &body, viewer }, host)
    })
    .await;
    let response = match wish {
        Err(answer) => return answer,
        Ok(Err(response)) => return whole(response),
        Ok(Ok(Wish::SignOut)) => return whole(route::signed_out(admin.board.sessions.close(&cookies))),
        Ok(Ok(Wish::SignIn { token, to })) => {
            let cookie = match admin.access.is_token(peer, &token).then(|| admin.board.sign_in()).transpose() {
                Ok(cookie) => cookie,
                Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            };
            aside(admin, move |host| route::signed_in(cookie, &to, &viewer, host)).await
        }
        Ok(Ok(Wish::Act(action))) => {
            let outcome = act(admin, action.clone(), peer).await;
            aside(admin, move |host| route::done(&action, outcome, &accept, &viewer, host)).await
        }
    };
    drop(turn);
    response
}

/// Has an action carried out, as the path of the admin endpoint that does the same. It goes on when the browser has gone.
async fn act(admin: &Arc<Admin>, action: Action, peer: Peer) -> Result<(), Refused> {
    let admin = Arc::clone(admin);
    let acted = tokio::spawn(async move {
        let Ok(_turn) = admin.changes.try_acquire() else {
            return Err(refused(429, "too many changes wait already; try again in a second"));
        };
        let who = match peer {
            Peer::Socket => "dashboard (unix socket)".to_owned(),
            Peer::Address(address) => format!("dashboard ({address})"),
        };
        let of_filter =
            |filter, wish| filters::change(&admin, (filter, wish), Parameters::default(), None, who.clone());
        let answer = match action {
            Action::Reload => actions::run(&admin, "/reload", "", who).await,
            Action::Rollback { to } => {
                let query = to.map(|to| format!("to={to}")).unwrap_or_default();
                actions::run(&admin, "/rollback", &query, who).await
            }
            Action::Load { filter, load } => {
                let parameters = Parameters::filled_in(&load);
                let upload = Upload::filled_in(load).map_err(|why| refused(422, &why))?;
                filters::change(&admin, (filter, filters::Wish::Load), parameters, Some(upload), who).await
            }
            Action::Promote { filter } => of_filter(filter, filters::Wish::Promote).await,
            Action::Abort { filter } => of_filter(filter, filters::Wish::Abort).await,
            Action::TakeBack { filter } => of_filter(filter, filters::Wish::Rollback).await,
            Action::Drain { cluster, address } => {
                let change = EndpointChange { drain: Some(true), weight: None };
                of_endpoint(&admin, cluster, &address, change, who).await?
            }
            Action::Restore { cluster, address } => {
                let change = EndpointChange { drain: Some(false), weight: None };
                of_endpoint(&admin, cluster, &address, change, who).await?
            }
            Action::Weight { cluster, address, weight } => {
                let change = EndpointChange { drain: None, weight: Some(Weight::Set(weight)) };
                of_endpoint(&admin, cluster, &address, change, who).await?
            }
        };
        outcome(answer)
    });
    acted.await.unwrap_or_else(|error| Err(refused(500, &error.to_string())))
}

async fn of_endpoint(
    admin: &Arc<Admin>,
    cluster: String,
    address: &str,
    change: EndpointChange,
    who: String,
) -> Result<Answer, Refused> {
    let address = address.parse().map_err(|_| refused(400, "This is no address of an endpoint."))?;
    Ok(endpoints::make(admin, cluster, address, change, who).await)
}

fn refused(status: u16, text: &str) -> Refused {
    Refused { status, text: text.to_owned(), report: String::new() }
}

fn outcome((status, value): Answer) -> Result<(), Refused> {
    if status.is_success() {
        return Ok(());
    }
    let error = value.get("error").and_then(Value::as_str).unwrap_or_default();
    let report = if error.contains('\n') { error } else { "" };
    let text = if report.is_empty() { error } else { "What it would be is refused, and what ran goes on." };
    Err(Refused { status: status.as_u16(), text: text.to_owned(), report: report.to_owned() })
}

/// A page, written on a thread that may block: one with ten thousand rows keeps no health check waiting.
async fn aside(
    admin: &Arc<Admin>,
    answer: impl FnOnce(&Host<'_>) -> route::Response + Send + 'static,
) -> Response<Body> {
    blocking(admin, answer).await.map_or_else(|error| error, whole)
}

async fn blocking<T: Send + 'static>(
    admin: &Arc<Admin>,
    answer: impl FnOnce(&Host<'_>) -> T + Send + 'static,
) -> Result<T, Response<Body>> {
    let admin = Arc::clone(admin);
    let answered = tokio::task::spawn_blocking(move || answer(&Host::new(&admin))).await;
    answered.map_err(|error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
}

fn whole(answer: route::Response) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body.into_owned()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = response.headers_mut();
    if !answer.content_type.is_empty() {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            fields.append(HeaderName::from_static(name), value);
        }
    }
    response
}

/// The first value of a field, where it is text.
fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_refused_says_why() {
        assert_eq!(outcome((StatusCode::OK, json!({}))), Ok(()));
        let short = outcome((StatusCode::CONFLICT, json!({ "error": "there is only one" }))).unwrap_err();
        assert_eq!((short.status, short.text.as_str(), short.report.as_str()), (409, "there is only one", ""));
        let long = outcome((StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": "a:1:1: x\na:2:1: y" }))).unwrap_err();
        assert_eq!((long.status, long.report.as_str()), (422, "a:1:1: x\na:2:1: y"));
    }
}
