//! gRPC, as much of it as a unary call needs (grpc/grpc, `doc/PROTOCOL-HTTP2.md`; retries: OTLP specification,
//! "OTLP/gRPC Response" and "OTLP/gRPC Throttling").

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::BASE64_NOPAD;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use prost::Message;

use super::{
    Failure, Retry,
    answer::{Answer, quoted, whole},
    gzip, user_agent,
};
use crate::telemetry::otlp::{
    record::{PartialSuccess, Signal},
    settings::Compression,
    statistics::FailureReason,
};

/// Flag and length before a message.
const PREFIX: usize = 5;

const OK: u32 = 0;
const CANCELLED: u32 = 1;
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const ABORTED: u32 = 10;
const OUT_OF_RANGE: u32 = 11;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const DATA_LOSS: u32 = 15;
const UNAUTHENTICATED: u32 = 16;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// A message as it is sent.
pub(crate) fn frame(message: &[u8], compression: Compression) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX.saturating_add(message.len()));
    framed.put_u8(match compression {
        Compression::None => 0,
        Compression::Gzip => 1,
    });
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

pub(super) fn headers(timeout: Duration, compression: Compression) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::USER_AGENT, user_agent());
    // At most eight digits.
    let milliseconds = timeout.as_millis().clamp(1, 99_999_999);
    if let Ok(value) = HeaderValue::try_from(format!("{milliseconds}m")) {
        headers.insert(HeaderName::from_static("grpc-timeout"), value);
    }
    if let Some(gzip) = gzip(compression) {
        headers.insert(HeaderName::from_static("grpc-encoding"), gzip);
    }
    headers
}

/// Reads the answer.
pub(super) async fn answer(signal: Signal, response: Response<Incoming>) -> Result<PartialSuccess, Failure> {
    let http = response.status();
    let head = response.headers().clone();
    if http != StatusCode::OK {
        // Something between here and the collector answers; there may be a status of gRPC all the same.
        let code = status(&head)?.unwrap_or_else(|| from_http(http));
        return Err(refusal(code, &head, &format!("HTTP {http}")));
    }
    if head.get(header::CONTENT_TYPE).is_none_or(|value| !value.as_bytes().starts_with(b"application/grpc")) {
        return Err(Failure::protocol("the answer is not gRPC: is this the port of OTLP over gRPC?"));
    }
    // Without a body, everything is in the one head ("Trailers-Only").
    if let Some(code) = status(&head)?
        && code != OK
    {
        return Err(refusal(code, &head, ""));
    }
    let Answer { body, trailers } = whole(response).await?;
    let code = match status(&trailers)? {
        Some(code) => code,
        None => status(&head)?.ok_or_else(|| Failure::protocol("the answer has no `grpc-status`"))?,
    };
    if code != OK {
        return Err(refusal(code, &trailers, ""));
    }
    let message = message(&body).ok_or_else(|| Failure::protocol("the answer is not one whole gRPC message"))?;
    signal.partial_success(message).map_err(|error| Failure::protocol(format_args!("the answer is not OTLP: {error}")))
}

/// The one message of a body. Compressed ones are not asked for.
fn message(body: &[u8]) -> Option<&[u8]> {
    let ([0, length @ ..], message) = body.split_first_chunk::<PREFIX>()? else { return None };
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (message.len() == length).then_some(message)
}

/// gRPC's code, if there is one.
fn status(headers: &HeaderMap) -> Result<Option<u32>, Failure> {
    let Some(value) = headers.get(STATUS) else { return Ok(None) };
    let code = value.to_str().ok().and_then(|text| text.parse().ok());
    code.map(Some).ok_or_else(|| Failure::protocol("`grpc-status` is not a number"))
}

fn refusal(code: u32, headers: &HeaderMap, also: &str) -> Failure {
    let asked = retry_delay(headers);
    let (reason, retry) = match code {
        CANCELLED | DEADLINE_EXCEEDED | ABORTED | OUT_OF_RANGE | UNAVAILABLE | DATA_LOSS => {
            (FailureReason::Unavailable, Retry::Later(asked))
        }
        // Without a time the collector does not expect to recover.
        RESOURCE_EXHAUSTED => (FailureReason::Throttled, asked.map_or(Retry::Never, |asked| Retry::Later(Some(asked)))),
        _ => (FailureReason::Refused, Retry::Never),
    };
    let message = headers.get(MESSAGE).map(|value| quoted(&String::from_utf8_lossy(value.as_bytes())));
    let message = message.unwrap_or_default();
    let text = [format!("grpc-status {code}"), also.to_owned(), message];
    Failure { reason, retry, text: text.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ") }
}

/// What an HTTP status says where there is no gRPC status (grpc/grpc, `doc/http-grpc-status-mapping.md`).
fn from_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// `retry_delay` of a `RetryInfo` in `grpc-status-details-bin`. What cannot be read says nothing.
fn retry_delay(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(DETAILS)?.as_bytes();
    // Padding may be there or not.
    let text = text.iter().rposition(|byte| *byte != b'=').and_then(|last| text.get(..=last))?;
    let status = Status::decode(BASE64_NOPAD.decode(text).ok()?.as_slice()).ok()?;
    let info = status.details.into_iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?.min(999_999_999)))
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Detail {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Delay {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::otlp::testing::retry_info;

    fn refused(code: u32, details: Option<&str>) -> (FailureReason, Retry) {
        let mut headers = HeaderMap::new();
        if let Some(details) = details {
            headers.insert(DETAILS, details.parse().unwrap());
        }
        let failure = refusal(code, &headers, "");
        (failure.reason, failure.retry)
    }

    #[test]
    fn the_codes_of_the_specification_are_sent_again() {
        for code in 1..=20 {
            let expected = match code {
                1 | 4 | 10 | 11 | 14 | 15 => (FailureReason::Unavailable, Retry::Later(None)),
                8 => (FailureReason::Throttled, Retry::Never),
                _ => (FailureReason::Refused, Retry::Never),
            };
            assert_eq!(refused(code, None), expected, "{code}");
        }
    }

    #[test]
    fn an_exhausted_collector_that_says_when_is_asked_again_then() {
        let details = retry_info(7, 500_000_000);
        let asked = Duration::from_millis(7500);
        for details in [details.as_str(), &format!("{details}==")] {
            assert_eq!(
                refused(RESOURCE_EXHAUSTED, Some(details)),
                (FailureReason::Throttled, Retry::Later(Some(asked)))
            );
            assert_eq!(refused(UNAVAILABLE, Some(details)).1, Retry::Later(Some(asked)));
        }
        assert_eq!(refused(RESOURCE_EXHAUSTED, Some(&retry_info(-7, 0))).1, Retry::Never);
    }

    #[test]
    fn a_body_is_exactly_one_message() {
        assert_eq!(message(&frame(b"abc", Compression::None)), Some(b"abc".as_slice()));
        assert_eq!(message(&frame(b"", Compression::None)), Some(b"".as_slice()));
        assert_eq!(message(&frame(b"abc", Compression::Gzip)), None);
        assert_eq!(message(b""), None);
        assert_eq!(message(b"\0\0\0\0\x04abc"), None);
        assert_eq!(message(b"\0\0\0\0\x02abc"), None);
        assert_eq!(message(b"\0\xff\xff\xff\xff"), None);
    }

    #[test]
    fn messages_of_a_collector_are_escaped_and_cut() {
        let mut headers = HeaderMap::new();
        headers
            .insert(MESSAGE, HeaderValue::from_bytes(&[b"a\xff\x1b".as_slice(), &[b'x'; 5000]].concat()[..2]).unwrap());
        assert_eq!(refusal(3, &headers, "").text, "grpc-status 3: a\u{fffd}");
        headers.insert(MESSAGE, HeaderValue::from_bytes(&[b'"'; 5000]).unwrap());
        assert!(refusal(3, &headers, "").text.len() < 300);
    }

    proptest! {
        #[test]
        fn any_details_are_read_or_say_nothing(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in "[ -~]{0,100}",
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(DETAILS, BASE64_NOPAD.encode(&bytes).parse().unwrap());
            retry_delay(&headers);
            headers.insert(DETAILS, text.parse().unwrap());
            retry_delay(&headers);
            message(&bytes);
        }
    }
}
