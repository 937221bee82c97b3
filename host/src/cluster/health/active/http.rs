//! A request and the status of its answer (`HealthCheck.HttpHealthCheck`).
//!
//! The answer has to come to its end before it counts, as in Envoy; of its body up to 64 KiB is read, and a longer
//! one costs the connection, not the health. `x-envoy-degraded` in an answer that passes asks to be spared;
//! `x-envoy-immediate-health-check-fail` in one that does not asks to be left out.

use std::{fmt::Write as _, ops::RangeInclusive};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{HOST, USER_AGENT},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::{
    Exclusion, Failure, FailureKind, HttpCheck, HttpProtocol, Verdict,
    http_session::{self, HttpSession},
    raw::{Afterwards, Asked},
};

const BODY_LIMIT: usize = 64 * 1024;
const DEGRADED: &str = "x-envoy-degraded";
/// In an answer of an endpoint: it is not to be asked any more until it passes checks again.
pub(crate) const IMMEDIATE_FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");

pub(super) async fn ask(check: &HttpCheck, session: &mut HttpSession) -> Result<Asked, Failure> {
    let response = session.send(request(check)?).await?;
    let (head, body) = response.into_parts();
    let afterwards = drain(body).await?;
    let verdict = judge(check, &Response::from_parts(head, ()));
    Ok(Asked { verdict, afterwards })
}

/// The same request each time; only the form of its target differs between the protocols.
fn request(check: &HttpCheck) -> Result<Request<Full<Bytes>>, Failure> {
    let unsendable = |error: &dyn std::fmt::Display| Failure::network(format!("the request cannot be sent: {error}"));
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static("Fyke/HC"));
    for name in check.headers.keys() {
        headers.remove(name);
    }
    headers.extend(check.headers.clone());
    let uri = match check.protocol {
        HttpProtocol::Http1 => {
            let host = HeaderValue::from_str(check.host.as_str()).map_err(|error| unsendable(&error))?;
            headers.entry(HOST).or_insert(host);
            Uri::from(check.path.clone())
        }
        HttpProtocol::Http2 => Uri::builder()
            .scheme(check.scheme.clone())
            .authority(check.host.clone())
            .path_and_query(check.path.clone())
            .build()
            .map_err(|error| unsendable(&error))?,
    };
    let mut request = Request::new(Full::default());
    *request.method_mut() = check.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn drain(mut body: Incoming) -> Result<Afterwards, Failure> {
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| http_session::failure(&error))?;
        length = length.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if length > BODY_LIMIT {
            return Ok(Afterwards::Close);
        }
    }
    Ok(Afterwards::Keep)
}

fn judge(check: &HttpCheck, answer: &Response<()>) -> Verdict {
    let status = answer.status().as_u16();
    if holds(&check.expected, status) {
        let degraded = answer.headers().contains_key(DEGRADED);
        return if degraded { Verdict::Degraded } else { Verdict::Passed };
    }
    let kind = if holds(&check.retriable, status) { FailureKind::Retriable } else { FailureKind::Active };
    let (method, path) = (&check.method, &check.path);
    let mut failure =
        Failure::of(kind, format!("{method} {path} answered {status}, expected {}", list(&check.expected)));
    if answer.headers().contains_key(&IMMEDIATE_FAIL) {
        failure.exclusion = Exclusion::Exclude;
        let _ = write!(failure.words, "; the host asked to be left out ({IMMEDIATE_FAIL})");
    }
    Verdict::Failed(failure)
}

fn holds(ranges: &[RangeInclusive<u16>], status: u16) -> bool {
    ranges.iter().any(|range| range.contains(&status))
}

fn list(ranges: &[RangeInclusive<u16>]) -> String {
    let words: Vec<String> = ranges
        .iter()
        .map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        })
        .collect();
    if words.is_empty() { "nothing (no status is expected)".into() } else { words.join(", ") }
}
