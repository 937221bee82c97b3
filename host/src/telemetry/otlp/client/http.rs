//! OTLP over HTTP/1.1 (OTLP specification, "OTLP/HTTP").

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use prost::Message;

use super::{
    Failure, Retry,
    answer::{Answer, quoted, whole},
    grpc::Status,
    gzip, user_agent,
};
use crate::telemetry::otlp::{
    endpoint::Endpoint,
    record::{PartialSuccess, Signal},
    settings::Compression,
    statistics::FailureReason,
};

const PROTOBUF: &str = "application/x-protobuf";

pub(super) fn headers(compression: Compression) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    headers.insert(header::USER_AGENT, user_agent());
    if let Some(gzip) = gzip(compression) {
        headers.insert(header::CONTENT_ENCODING, gzip);
    }
    headers
}

pub(super) fn host(endpoint: &Endpoint) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(endpoint.authority().as_str()).map_err(|_| Failure::ours("the endpoint makes no `host`"))
}

/// Reads the answer.
pub(super) async fn answer(
    signal: Signal,
    response: Response<Incoming>,
    wall: fn() -> SystemTime,
) -> Result<PartialSuccess, Failure> {
    let status = response.status();
    let format = Format::of(response.headers());
    if !status.is_success() {
        let asked = retry_after(response.headers(), wall);
        // Its words are welcome, but nothing depends on them.
        let body = whole(response).await.map(|answer| answer.body).unwrap_or_default();
        return Err(refusal(status, asked, &words(&format, &body)));
    }
    let Answer { body, .. } = whole(response).await?;
    match format {
        Format::Protobuf => signal
            .partial_success(&body)
            .map_err(|error| Failure::protocol(format_args!("the answer is not OTLP: {error}"))),
        Format::Html => {
            Err(Failure::protocol("the answer is a web page: is this the port and path of OTLP over HTTP?"))
        }
        // The status is what counts; some answer with JSON or a word whatever they were asked with.
        Format::Other => Ok(PartialSuccess::default()),
    }
}

/// What an answer is written in.
enum Format {
    Protobuf,
    Html,
    Other,
}

impl Format {
    fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match value.split(';').next().unwrap_or_default().trim() {
            kind if kind.eq_ignore_ascii_case(PROTOBUF) => Self::Protobuf,
            kind if kind.eq_ignore_ascii_case("text/html") => Self::Html,
            _ => Self::Other,
        }
    }
}

fn refusal(status: StatusCode, asked: Option<Duration>, words: &str) -> Failure {
    let (reason, retry) = match status.as_u16() {
        429 => (FailureReason::Throttled, Retry::Later(asked)),
        502..=504 => (FailureReason::Unavailable, Retry::Later(asked)),
        _ => (FailureReason::Refused, Retry::Never),
    };
    let text = if words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {words}") };
    Failure { reason, retry, text }
}

/// `Retry-After`: seconds or a date (RFC 9110, 10.2.3). What cannot be read says nothing.
fn retry_after(headers: &HeaderMap, wall: fn() -> SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean for ever.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(wall()).unwrap_or_default())
}

/// What the collector says about a refusal: a `google.rpc.Status`, or text.
fn words(format: &Format, body: &[u8]) -> String {
    match format {
        Format::Protobuf => Status::decode(body).map(|status| quoted(&status.message)).unwrap_or_default(),
        Format::Html => String::new(),
        Format::Other => quoted(&String::from_utf8_lossy(body.get(..body.len().min(1024)).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn wall() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    #[test]
    fn the_statuses_of_the_specification_are_sent_again() {
        for status in (300..600).map(|status| StatusCode::from_u16(status).unwrap()) {
            let again = matches!(refusal(status, None, "").retry, Retry::Later(_));
            assert_eq!(again, [429, 502, 503, 504].contains(&status.as_u16()), "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers, wall)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(["", "-1", "soon", "1.5"].map(read), [None; 4]);
    }

    #[test]
    fn a_refusal_is_told_in_the_collectors_words() {
        let body = Status { message: "no \u{1b}tenant".into(), details: Vec::new() }.encode_to_vec();
        assert_eq!(words(&Format::Protobuf, &body), "no \\u{1b}tenant");
        assert_eq!(words(&Format::Other, b"bad\n"), "bad\\n");
        assert_eq!(words(&Format::Protobuf, b"\xff\xff"), "");
    }
}
