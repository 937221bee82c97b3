//! How answers are written.

use std::fmt::Display;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    catalog::Version,
    error::{Reason, Refusal},
};

pub(super) type Reply = Response<Full<Bytes>>;

/// A version as a number, for clients that would rather carry one (`?index=`).
pub(super) const INDEX: &str = "x-registry-index";

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    // What somebody in between keeps is old.
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

pub(super) fn empty(status: StatusCode) -> Reply {
    plain(status, Bytes::new())
}

pub(super) fn typed(body: impl Into<Bytes>, content_type: &'static str) -> Reply {
    let mut reply = plain(StatusCode::OK, body);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

pub(super) fn json(body: impl Into<Bytes>) -> Reply {
    typed(body, "application/json")
}

/// A version's tag. Weak: two answers with the same differ in when hosts were last heard of (RFC 9110, section 8.8.1).
pub(super) fn etag(version: Version) -> String {
    format!("W/\"{version}\"")
}

/// Says what version an answer is of.
pub(super) fn of(mut reply: Reply, version: Version) -> Reply {
    let value = |text: &dyn Display| HeaderValue::from_str(&text.to_string()).ok();
    if let (Some(etag), Some(index)) = (value(&etag(version)), value(&version.index())) {
        reply.headers_mut().insert(header::ETAG, etag);
        reply.headers_mut().insert(INDEX, index);
    }
    reply
}

/// An error, and which field it is about.
pub(super) fn refusal(refusal: &Refusal) -> Reply {
    let mut body = json!({"error": refusal.message});
    if let (Some(field), Some(body)) = (&refusal.field, body.as_object_mut()) {
        body.insert("field".to_owned(), Value::from(field.clone()));
    }
    let mut reply = json(body.to_string());
    *reply.status_mut() = refusal.reason.status();
    let headers = reply.headers_mut();
    if let Some(allow) = refusal.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    match refusal.reason {
        Reason::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"registry\""));
        }
        Reason::Waiters | Reason::NotReady => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    reply
}
