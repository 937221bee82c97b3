//! `proxy_grpc_call` and `proxy_grpc_stream`: gRPC over a cluster's HTTP/2 (grpc/grpc, `doc/PROTOCOL-HTTP2.md`).

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{
    Extensions, HeaderMap, HeaderValue, Method, StatusCode, header,
    uri::{PathAndQuery, Scheme},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::{
    cluster::{RequestBody, body::BodyError, local::LocalCluster},
    config::resolved::ClusterProtocol,
    upstream::{
        Outgoing, dispatch,
        dispatch::{Purpose, Replay},
    },
};

/// A message larger than this is refused: it has to fit into a guest.
const LARGEST_MESSAGE: usize = 8 * 1024 * 1024;
/// Messages that are delivered before others get their turn.
const MESSAGES_AT_ONCE: u64 = 32;
/// Flag and length before each message.
const PREFIX: usize = 5;

const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
/// The other side, or this one, broke the protocol.
pub const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// A call.
#[derive(Debug)]
pub struct Request {
    /// `/package.Service/Method`
    pub path: PathAndQuery,
    /// Initial metadata.
    pub metadata: HeaderMap,
    /// For the whole call; `None`: no limit.
    pub timeout: Option<Duration>,
}

/// What comes back, in order.
#[derive(Debug)]
pub enum Event {
    /// Initial metadata; empty where the answer is nothing but trailers.
    Initial(HeaderMap),
    /// A message.
    Message(BytesMut),
    /// Trailing metadata.
    Trailing(HeaderMap),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// gRPC's code; 0: OK.
    pub code: u32,
    /// Its message.
    pub message: String,
}

impl Status {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A message as it is sent.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Messages of a stream on their way, each with what it keeps until it is sent.
pub struct Messages<K>(pub mpsc::UnboundedReceiver<(Bytes, K)>);

impl<K> Body for Messages<K> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|message| message.map(|(bytes, _)| Ok(Frame::data(bytes))))
    }
}

/// Makes a call. `each` is given what comes back and says whether anybody still listens.
///
/// Cancel safe: dropped, the stream is reset.
pub async fn call(
    cluster: &Rc<LocalCluster>,
    request: Request,
    body: RequestBody,
    each: impl FnMut(Event) -> bool,
) -> Status {
    let timeout = request.timeout;
    let answered = answered(cluster, request, body, each);
    match timeout {
        Some(limit) => tokio::time::timeout(limit, answered)
            .await
            .unwrap_or_else(|_| Status::new(DEADLINE_EXCEEDED, format!("no answer within {limit:?}"))),
        None => answered.await,
    }
}

async fn answered(
    cluster: &Rc<LocalCluster>,
    request: Request,
    body: RequestBody,
    mut each: impl FnMut(Event) -> bool,
) -> Status {
    let settings = &cluster.shared.settings;
    let speaks = match settings.protocol {
        ClusterProtocol::Http2 => true,
        // Only TLS can agree on a protocol.
        ClusterProtocol::Auto => settings.tls.is_some(),
        ClusterProtocol::Http1 | ClusterProtocol::Tcp => false,
    };
    if !speaks {
        let message = format!("cluster {} does not speak HTTP/2: give it `protocol: http2`", cluster.name);
        return Status::new(INTERNAL, message);
    }
    let outgoing = Box::new(outgoing(cluster, request, body));
    let answered = match dispatch(cluster, outgoing, Replay::Copy, None, |_| {}).await {
        Ok(answered) => answered,
        Err(error) => return Status::new(UNAVAILABLE, error.to_string()),
    };
    let (parts, mut incoming) = answered.response.into_parts();
    if parts.status != StatusCode::OK {
        return Status::new(code_of(parts.status), format!("answered with {}", parts.status));
    }
    let only_trailers = parts.headers.contains_key("grpc-status");
    if !each(Event::Initial(if only_trailers { HeaderMap::new() } else { parts.headers.clone() })) {
        return Status::new(UNKNOWN, "nobody listens");
    }
    let mut trailers = only_trailers.then_some(parts.headers);
    let mut held = BytesMut::new();
    let mut given = 0_u64;
    while let Some(frame) = incoming.frame().await {
        match frame.map(Frame::into_data) {
            Err(error) => return Status::new(UNAVAILABLE, format!("the answer broke off: {error}")),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok().or(trailers),
            Ok(Ok(data)) => {
                held.extend_from_slice(&data);
                loop {
                    match message(&mut held, LARGEST_MESSAGE) {
                        Ok(Some(message)) => {
                            if !each(Event::Message(message)) {
                                return Status::new(UNKNOWN, "nobody listens");
                            }
                            // A window full of small messages is not delivered in one go: others wait for the worker.
                            given += 1;
                            if given.is_multiple_of(MESSAGES_AT_ONCE) {
                                tokio::task::yield_now().await;
                            }
                        }
                        Ok(None) => break,
                        Err(status) => return status,
                    }
                }
            }
        }
    }
    if !held.is_empty() {
        return Status::new(INTERNAL, "the answer ended inside a message");
    }
    let Some(trailers) = trailers else { return Status::new(UNKNOWN, "the answer has no grpc-status") };
    let status = status_of(&trailers);
    each(Event::Trailing(trailers));
    status
}

fn outgoing(cluster: &LocalCluster, request: Request, body: RequestBody) -> Outgoing {
    let mut fields = request.metadata;
    // A name that no header can have is no cluster's.
    if let Ok(host) = HeaderValue::from_str(&cluster.name) {
        fields.insert(header::HOST, host);
    }
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(timeout) = request.timeout {
        // At most eight digits.
        let milliseconds = timeout.as_millis().min(99_999_999);
        if let Ok(value) = HeaderValue::from_str(&format!("{milliseconds}m")) {
            fields.insert("grpc-timeout", value);
        }
    }
    Outgoing {
        method: Method::POST,
        path: request.path,
        scheme: if cluster.shared.settings.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP },
        fields,
        body,
        purpose: Purpose::Answer,
        extensions: Extensions::new(),
    }
}

/// Takes the first message, if all of it is there.
///
/// # Errors
/// It is compressed, or larger than `most`.
pub fn message(held: &mut BytesMut, most: usize) -> Result<Option<BytesMut>, Status> {
    let Some((prefix, _)) = held.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let [flag, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if flag != 0 {
        return Err(Status::new(UNIMPLEMENTED, "the answer is compressed, which was not asked for"));
    }
    if length > most {
        return Err(Status::new(RESOURCE_EXHAUSTED, format!("a message of {length} bytes; {most} are taken")));
    }
    if held.len() < PREFIX + length {
        return Ok(None);
    }
    held.advance(PREFIX);
    Ok(Some(held.split_to(length)))
}

fn status_of(trailers: &HeaderMap) -> Status {
    let text = |name| trailers.get(name).map(HeaderValue::as_bytes);
    let code = text("grpc-status").and_then(|code| std::str::from_utf8(code).ok()?.parse().ok()).unwrap_or(UNKNOWN);
    Status::new(code, percent_decode(text("grpc-message").unwrap_or_default()))
}

fn percent_decode(message: &[u8]) -> String {
    let mut out = Vec::with_capacity(message.len());
    let mut rest = message;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| after.split_first_chunk::<2>()).flatten().and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = escaped.unwrap_or((*byte, after));
        out.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// gRPC's own table, "HTTP to gRPC Status Code Mapping".
#[must_use]
pub fn code_of(status: StatusCode) -> u32 {
    match status.as_u16() {
        200 => 0,
        400 => INTERNAL,
        401 => 16,
        403 => 7,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_out_whole_however_they_are_cut(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8), cut in 1_usize..20) {
            let sent: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            let mut held = BytesMut::new();
            let mut received = Vec::new();
            for piece in sent.chunks(cut) {
                held.extend_from_slice(piece);
                while let Some(message) = message(&mut held, LARGEST_MESSAGE).unwrap() {
                    received.push(message.to_vec());
                }
            }
            prop_assert_eq!(received, messages);
            prop_assert!(held.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        assert_eq!(
            message(&mut BytesMut::from(&[1, 0, 0, 0, 0][..]), LARGEST_MESSAGE).unwrap_err().code,
            UNIMPLEMENTED
        );
        assert_eq!(
            message(&mut BytesMut::from(&[0, 255, 0, 0, 0][..]), LARGEST_MESSAGE).unwrap_err().code,
            RESOURCE_EXHAUSTED
        );
        let mut trailers = HeaderMap::new();
        assert_eq!(status_of(&trailers).code, UNKNOWN);
        trailers.insert("grpc-status", HeaderValue::from_static("5"));
        trailers.insert("grpc-message", HeaderValue::from_static("no %C3%A9 100%"));
        assert_eq!(status_of(&trailers), Status::new(5, "no \u{e9} 100%"));
    }
}
