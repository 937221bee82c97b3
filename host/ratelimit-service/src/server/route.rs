//! Which request is answered by whom.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::grpc;
use crate::decide::Refusal;
use crate::json;
use crate::messages::Code;
use crate::service::Shared;
use crate::settings::Serves;

/// What is answered. It is there as a whole.
pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// Answers a request that came to a listener.
pub(super) async fn answer(shared: &Shared, at: usize, request: Request<Incoming>) -> Response<Body> {
    let serves = |what| shared.settings.listeners.get(at).is_some_and(|listener| listener.serves.contains(&what));
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if kind.starts_with(b"application/grpc") {
        return if serves(Serves::Grpc) { grpc::answer(shared, request).await } else { grpc::not_here() };
    }
    let path = request.uri().path();
    match path {
        "/healthcheck" => get(request.method(), || {
            let health = shared.health();
            let status = if health.is_serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            // Names of files are nothing for those who only ask.
            let lines = if serves(Serves::Admin) { usize::MAX } else { 1 };
            text(status, health.text.split_inclusive('\n').take(lines).collect())
        }),
        "/rlconfig" if serves(Serves::Admin) => {
            get(request.method(), || text(StatusCode::OK, shared.rules.load().to_string()))
        }
        "/metrics" if serves(Serves::Admin) => get(request.method(), || {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            reply(StatusCode::OK, kind, shared.metrics_text())
        }),
        "/json" if serves(Serves::Json) => {
            if request.method() == Method::POST {
                by_json(shared, request).await
            } else {
                not_allowed("POST")
            }
        }
        _ => not_found(),
    }
}

/// Reads a request's body, within the limits of size and time.
pub(super) async fn body(shared: &Shared, request: Request<Incoming>, more: usize) -> Result<Bytes, BodyError> {
    let most = shared.settings.limits.request.0.saturating_add(more);
    match tokio::time::timeout(BODY, Limited::new(request.into_body(), most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow),
    }
}

async fn by_json(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let body = match body(shared, request, 0).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large\n".to_owned());
        }
        Err(BodyError::TooSlow) => return text(StatusCode::REQUEST_TIMEOUT, "the request took too long\n".to_owned()),
        Err(BodyError::Broken) => return text(StatusCode::BAD_REQUEST, "the request was cut short\n".to_owned()),
    };
    let request = match json::request(&body) {
        Ok(request) => request,
        Err(error) => {
            shared.metrics.service_errors.add(1);
            return text(StatusCode::BAD_REQUEST, format!("not a RateLimitRequest: {error}\n"));
        }
    };
    match shared.should_rate_limit(&request).await {
        Ok(decision) => {
            let over = decision.overall_code() == Code::OverLimit;
            let status = if over { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
            let mut response = reply(status, HeaderValue::from_static("application/json"), json::response(&decision));
            // Who speaks HTTP can hand them on; Envoy adds them itself.
            for header in &decision.response_headers_to_add {
                let name = http::HeaderName::try_from(&header.key);
                if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(&header.value)) {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
        Err(Refusal::Invalid(message)) => text(StatusCode::BAD_REQUEST, message + "\n"),
        Err(Refusal::Store(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn get(method: &Method, respond: impl FnOnce() -> Response<Body>) -> Response<Body> {
    if [Method::GET, Method::HEAD].contains(method) { respond() } else { not_allowed("GET, HEAD") }
}

fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "not found\n".to_owned())
}

fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    reply(status, HeaderValue::from_static("text/plain; charset=utf-8"), body)
}

fn reply(status: StatusCode, kind: HeaderValue, body: String) -> Response<Body> {
    let mut response = Response::new(Full::from(body).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
