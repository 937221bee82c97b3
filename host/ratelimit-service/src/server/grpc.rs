//! Unary calls of gRPC over HTTP/2 (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>), without compression.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

use super::route::{self, Body, BodyError};
use crate::decide::Refusal;
use crate::messages::{HealthCheckRequest, HealthCheckResponse, RateLimitRequest, ServingStatus};
use crate::service::Shared;

/// The one method that this is about.
const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Names by which health may be asked for; `ratelimit` is what envoyproxy/ratelimit calls itself.
const SERVICES: [&str; 3] = ["", "ratelimit", "envoy.service.ratelimit.v3.RateLimitService"];

/// Before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// What statuses' messages may not have in them.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// A call that failed.
#[derive(Debug)]
struct Status {
    code: u8,
    message: String,
}

// Numbers of <https://grpc.io/docs/guides/status-codes/>.
const INVALID_ARGUMENT: u8 = 3;
const DEADLINE_EXCEEDED: u8 = 4;
const NOT_FOUND: u8 = 5;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;

impl Status {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Answers a call.
pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let answer = match request.uri().path() {
        SHOULD_RATE_LIMIT => should_rate_limit(shared, request).await,
        HEALTH => health(shared, request).await,
        path => Err(Status::new(UNIMPLEMENTED, format!("no method {path}"))),
    };
    answer.map_or_else(|status| failed(&status), message)
}

/// Answers a call where no calls are answered, so that a gRPC client understands it.
pub(super) fn not_here() -> Response<Body> {
    failed(&Status::new(UNIMPLEMENTED, "this listener does not serve gRPC"))
}

async fn should_rate_limit(shared: &Shared, request: Request<Incoming>) -> Result<Bytes, Status> {
    let request: RateLimitRequest =
        read(shared, request).await.inspect_err(|_| shared.metrics.service_errors.add(1))?;
    match shared.should_rate_limit(&request).await {
        Ok(response) => frame(&response),
        Err(Refusal::Invalid(message)) => Err(Status::new(INVALID_ARGUMENT, message)),
        Err(Refusal::Store(error)) => Err(Status::new(UNAVAILABLE, error.to_string())),
    }
}

async fn health(shared: &Shared, request: Request<Incoming>) -> Result<Bytes, Status> {
    let request: HealthCheckRequest = read(shared, request).await?;
    if !SERVICES.contains(&request.service.as_str()) {
        return Err(Status::new(NOT_FOUND, "unknown service"));
    }
    let is_serving = shared.health().is_serving;
    let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    frame(&HealthCheckResponse { status: status.into() })
}

/// The one message of a request.
async fn read<M: Message + Default>(shared: &Shared, request: Request<Incoming>) -> Result<M, Status> {
    if request.method() != Method::POST || request.version() != Version::HTTP_2 {
        return Err(Status::new(INTERNAL, "gRPC is POST over HTTP/2"));
    }
    let body = route::body(shared, request, FRAME).await.map_err(|error| match error {
        BodyError::TooLarge => Status::new(RESOURCE_EXHAUSTED, "the request is too large"),
        BodyError::TooSlow => Status::new(DEADLINE_EXCEEDED, "the request took too long"),
        BodyError::Broken => Status::new(INTERNAL, "the request was cut short"),
    })?;
    let Some((head, message)) = body.split_at_checked(FRAME) else {
        return Err(Status::new(INTERNAL, "the request has no message"));
    };
    let [compressed, length @ ..] = head else { return Err(Status::new(INTERNAL, "the request has no message")) };
    if *compressed != 0 {
        return Err(Status::new(UNIMPLEMENTED, "messages are read uncompressed"));
    }
    let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    if length != message.len() {
        return Err(Status::new(INTERNAL, "the request is not one message"));
    }
    M::decode(message).map_err(|error| Status::new(INVALID_ARGUMENT, error.to_string()))
}

fn frame(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(FRAME + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).map_err(|_| Status::new(INTERNAL, "the answer is too large"))?);
    message.encode(&mut bytes).map_err(|error| Status::new(INTERNAL, error.to_string()))?;
    Ok(bytes.freeze())
}

fn message(bytes: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::from(bytes).with_trailers(std::future::ready(Some(Ok(trailers))));
    begun(body.boxed_unsync())
}

/// Only trailers, which are the headers then.
fn failed(status: &Status) -> Response<Body> {
    let mut response = begun(Full::default().boxed_unsync());
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(u16::from(status.code)));
    let message = utf8_percent_encode(&status.message, ESCAPED).to_string();
    // It is ASCII.
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    if status.code == UNIMPLEMENTED {
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    }
    response
}

fn begun(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
