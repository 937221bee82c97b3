//! The one place that maps errors to answers, for HTTP and for gRPC.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{callout::grpc, upstream::UpstreamError, wasm::exchange::Reply};

/// The stream ends without an answer: the connection is closed, or the HTTP/2 stream reset.
#[derive(Debug, thiserror::Error)]
#[error("stream reset: {0}")]
pub struct Abort(pub String);

/// The status of an upstream's failure.
#[must_use]
pub fn status(error: &UpstreamError) -> StatusCode {
    match error {
        UpstreamError::Timeout { .. } | UpstreamError::PerTryTimeout { .. } | UpstreamError::Idle { .. } => {
            StatusCode::GATEWAY_TIMEOUT
        }
        UpstreamError::Protocol { .. } | UpstreamError::NoExtendedConnect { .. } => StatusCode::BAD_GATEWAY,
        UpstreamError::RequestBody { .. } => StatusCode::BAD_REQUEST,
        UpstreamError::NotRouted => StatusCode::NOT_FOUND,
        UpstreamError::Cluster(_)
        | UpstreamError::Reset { .. }
        | UpstreamError::Refused { .. }
        | UpstreamError::UnknownCluster { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether the caller speaks gRPC and wants its errors in gRPC's form.
#[must_use]
pub fn is_grpc(fields: &HeaderMap) -> bool {
    fields.get(header::CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// Turns a local reply into a trailers-only answer (gRPC over HTTP/2, "Responses").
pub fn for_grpc(reply: &mut Reply) {
    let code = reply.grpc_status.unwrap_or_else(|| grpc::code_of(reply.head.status));
    let fields = &mut reply.head.fields;
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert("grpc-status", HeaderValue::from(code));
    let body = std::mem::take(&mut reply.body);
    if !body.is_empty()
        && let Ok(message) = HeaderValue::from_str(&percent_encode(body.trim_ascii_end()))
    {
        fields.insert("grpc-message", message);
    }
    fields.remove(header::CONTENT_LENGTH);
    reply.head.status = StatusCode::OK;
}

fn percent_encode(message: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(message.len());
    for byte in message {
        if (0x20..=0x7e).contains(byte) && *byte != b'%' {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Fields of an answer that the host gives before a stream exists.
#[must_use]
pub fn plain_fields() -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(3);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    fields
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wasm::maps::ResponseHead;

    #[test]
    fn a_grpc_caller_gets_status_and_message_in_headers() {
        let mut reply = Reply {
            head: ResponseHead { status: StatusCode::SERVICE_UNAVAILABLE, fields: HeaderMap::new() },
            body: Bytes::from_static("no 100% yet\u{e9}\n".as_bytes()),
            grpc_status: None,
            details: "x".into(),
            from: None,
        };
        for_grpc(&mut reply);
        assert_eq!(reply.head.status, StatusCode::OK);
        assert_eq!(reply.head.fields["grpc-status"], "14");
        assert_eq!(reply.head.fields["grpc-message"], "no 100%25 yet%C3%A9");
        assert!(reply.body.is_empty());
    }
}
