//! `grpc.health.v1.Health/Check` (the gRPC health checking protocol; `HealthCheck.GrpcHealthCheck`).
//!
//! One unary call over HTTP/2. Its two messages have one field each and are written and read by hand. Whatever the host
//! answers but `SERVING` fails at once, as in Envoy; a stream or connection that breaks counts towards the threshold.

use ::http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, TE, USER_AGENT},
    uri::{Authority, Scheme},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};

use super::{
    Failure, GrpcCheck, Verdict,
    http_session::{self, HttpSession},
    raw::{self, Asked},
};
use crate::callout::grpc::frame;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// A response is two bytes; a status of this field's future may bring more along.
const MESSAGE_LIMIT: usize = 4096;
/// Compressed flag and length in front of a message.
const PREFIX: usize = 5;

pub(super) async fn ask(check: &GrpcCheck, session: &mut HttpSession) -> Result<Asked, Failure> {
    let response = session.send(request(check)?).await?;
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK {
        let status = head.status.as_u16();
        return Err(Failure::active(format!("{PATH} answered the HTTP status {status}, expected 200")));
    }
    if let Some(Code { number, message }) = code(&head.headers).filter(|code| code.number != 0) {
        return Ok(failed(refused(check, number, &message)));
    }
    let (mut message, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| http_session::failure(&error))?;
        match frame.into_data() {
            Ok(data) if message.len().saturating_add(data.len()) > MESSAGE_LIMIT => {
                return Err(Failure::active(format!("the answer is longer than {MESSAGE_LIMIT} bytes")));
            }
            Ok(data) => message.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    match code(&trailers).or_else(|| code(&head.headers)) {
        Some(Code { number: 0, .. }) => Ok(judge(check, &message).map_or_else(failed, Asked::keep)),
        Some(Code { number, message }) => Ok(failed(refused(check, number, &message))),
        None => Err(Failure::active(format!("{PATH} was answered without a grpc-status: not a gRPC server?"))),
    }
}

/// An answer that is not the one that is wanted is an answer still: the connection is as good as ever.
fn failed(failure: Failure) -> Asked {
    Asked::keep(Verdict::Failed(failure))
}

fn request(check: &GrpcCheck) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = post((check.scheme.clone(), check.authority.clone()), PATH, encode(&check.service))
        .map_err(|error| Failure::network(format!("the request cannot be sent: {error}")))?;
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("Fyke/HC"));
    Ok(request)
}

/// A call to an endpoint over a connection of its own, with one message in its frame.
pub(in crate::cluster) fn post(
    (scheme, authority): (Scheme, Authority),
    path: &'static str,
    message: Bytes,
) -> Result<Request<Full<Bytes>>, ::http::Error> {
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()?;
    Request::post(uri)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(TE, HeaderValue::from_static("trailers"))
        .body(Full::new(message))
}

/// `message HealthCheckRequest { string service = 1; }`, behind its prefix.
fn encode(service: &str) -> Bytes {
    let mut message = Vec::new();
    // proto3: a default value is not written.
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    frame(&message)
}

/// `message HealthCheckResponse { ServingStatus status = 1; }`, behind its prefix.
fn judge(check: &GrpcCheck, bytes: &[u8]) -> Result<Verdict, Failure> {
    let malformed = || Failure::active(format!("{PATH} was answered with a malformed message"));
    let (prefix, message) = bytes.split_at_checked(PREFIX).ok_or_else(malformed)?;
    let (flag, length) = prefix.split_first().ok_or_else(malformed)?;
    let length = u32::from_be_bytes(length.try_into().map_err(|_| malformed())?);
    // Nothing was offered in grpc-accept-encoding, so nothing may be compressed.
    if *flag != 0 || usize::try_from(length) != Ok(message.len()) {
        return Err(malformed());
    }
    let status = serving_status(message).ok_or_else(malformed)?;
    let subject = subject(check);
    match status {
        1 => Ok(Verdict::Passed),
        0 => Err(Failure::active(format!("{subject} is UNKNOWN, expected SERVING"))),
        2 => Err(Failure::active(format!("{subject} is NOT_SERVING"))),
        3 => Err(Failure::active(format!("{subject} is not known to the server (SERVICE_UNKNOWN)"))),
        other => Err(Failure::active(format!("{subject} has the unknown status {other}, expected SERVING"))),
    }
}

fn subject(check: &GrpcCheck) -> String {
    if check.service.is_empty() {
        "the server".into()
    } else {
        format!("service {}", raw::excerpt(check.service.as_bytes()))
    }
}

fn refused(check: &GrpcCheck, number: u32, message: &str) -> Failure {
    let why = if message.is_empty() { String::new() } else { format!(": {message}") };
    Failure::active(match number {
        5 => format!("{} is not known to the server (NOT_FOUND){why}", subject(check)),
        12 => format!("the server does not offer grpc.health.v1.Health (UNIMPLEMENTED){why}"),
        _ => format!("{PATH} was answered with the gRPC status {number} ({}){why}", name(number)),
    })
}

/// A gRPC status, with its message made safe to show.
struct Code {
    number: u32,
    message: String,
}

/// `None` without a status; one that is no number counts as `UNKNOWN`, as the protocol says.
fn code(headers: &HeaderMap) -> Option<Code> {
    let status = headers.get("grpc-status")?;
    let number = status.to_str().ok().and_then(|status| status.parse().ok()).unwrap_or(2);
    let message = headers.get("grpc-message").map(|message| raw::excerpt(message.as_bytes())).unwrap_or_default();
    Some(Code { number, message })
}

fn name(number: u32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(number).ok().and_then(|number| NAMES.get(number)).copied().unwrap_or("not a known one")
}

/// Field 1 as a varint, the last one if there are several, 0 if there is none. `None` for bytes that are no message.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (0, _) => return None,
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// At most ten bytes of seven bits.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use ::http::uri::{Authority, Scheme};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_has_its_service_behind_a_prefix() {
        assert_eq!(&encode("")[..], b"\0\0\0\0\0");
        assert_eq!(&encode("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        assert_eq!(&encode(&"x".repeat(300))[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn unknown_fields_of_a_response_are_passed_over() {
        assert_eq!(serving_status(b""), Some(0));
        assert_eq!(serving_status(b"\x08\x01"), Some(1));
        assert_eq!(serving_status(b"\x12\x02xy\x19abcdefgh\x25abcd\x08\x02\x30\x80\x01"), Some(2));
        for malformed in [&b"\x08"[..], b"\x08\x80", b"\x12\x05xy", b"\0\0", b"\x0b", b"\x19abc"] {
            assert_eq!(serving_status(malformed), None, "{malformed:?}");
        }
        assert_eq!(serving_status(&[0xff; 20]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let authority = Authority::from_static("a");
            let check = GrpcCheck { service: String::new(), authority, scheme: Scheme::HTTP };
            let _ = judge(&check, &bytes);
            let _ = serving_status(&bytes);
        }
    }
}
