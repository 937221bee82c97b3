//! Requests, over HTTP/2, so that chunks, trailers and resets arrive as they were sent.

use std::{io, net::SocketAddr, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::mpsc};

use super::{
    bench::Bench,
    protocol::{Message, bytes, text},
};
use crate::cluster::connect::LocalExecutor;

/// Sends a request and writes down what comes of it.
pub(super) async fn send(bench: Rc<Bench>, address: SocketAddr, stream: u32, message: Message) {
    let sent = exchange(&bench, address, stream, message).await;
    bench.with_flight(stream, |flight| {
        flight.done = true;
        flight.reset |= sent.is_err();
    });
}

async fn exchange(bench: &Rc<Bench>, address: SocketAddr, stream: u32, message: Message) -> Result<(), io::Error> {
    let socket = TcpStream::connect(address).await?;
    // Rest is told by what arrives at once: nothing may wait in the kernel.
    socket.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let connection = tokio::task::spawn_local(connection);
    let request = head(&message)?;
    let body = body(bench, message);
    let request = request.map(|()| body);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let (parts, mut body) = response.into_parts();
    bench.with_flight(stream, |flight| {
        flight.answer.headers.push((":status".to_owned(), parts.status.as_str().to_owned()));
        flight.answer.headers.extend(pairs(&parts.headers));
    });
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        bench.with_flight(stream, |flight| match frame.into_data() {
            Ok(data) => flight.answer.chunks.push(text(&data)),
            Err(frame) => flight.answer.trailers.extend(frame.trailers_ref().map(pairs).unwrap_or_default()),
        });
    }
    drop(sender);
    connection.abort();
    Ok(())
}

/// Whether HTTP can carry the message at all.
pub(super) fn check(message: &Message) -> Result<(), io::Error> {
    head(message)?;
    header_map(&message.trailers).map(drop)
}

fn head(message: &Message) -> Result<Request<()>, io::Error> {
    let pseudo = |wanted: &str| {
        let found = message.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let uri = Uri::builder()
        .scheme(pseudo(":scheme"))
        .authority(pseudo(":authority"))
        .path_and_query(pseudo(":path"))
        .build()
        .map_err(io::Error::other)?;
    let request = Request::builder().method(pseudo(":method")).uri(uri);
    let mut request = request.body(()).map_err(io::Error::other)?;
    *request.headers_mut() = header_map(&message.headers)?;
    Ok(request)
}

/// Where a body is fed.
pub(super) type Frames = mpsc::UnboundedSender<Frame<Bytes>>;
/// A body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The body of a message. An empty one is known to be empty, so that the head ends the stream.
pub(super) fn body(bench: &Rc<Bench>, message: Message) -> Body {
    if message.chunks.is_empty() && message.trailers.is_empty() {
        return Empty::new().map_err(io::Error::other).boxed_unsync();
    }
    let (frames, body) = channel();
    tokio::task::spawn_local(feed(Rc::clone(bench), frames, message));
    body
}

/// A body that is fed; it ends when its feeder is dropped.
pub(super) fn channel() -> (Frames, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let stream = futures_util::stream::unfold(receiver, async |mut receiver: mpsc::UnboundedReceiver<_>| {
        let frame = receiver.recv().await?;
        Some((Ok(frame), receiver))
    });
    (sender, StreamBody::new(Box::pin(stream)).boxed_unsync())
}

/// Feeds a body, chunk by chunk, with a pause after each for whoever reads it.
async fn feed(bench: Rc<Bench>, frames: Frames, message: Message) {
    for chunk in &message.chunks {
        bench.some_turns().await;
        let _ = frames.send(Frame::data(bytes(chunk).into()));
    }
    bench.some_turns().await;
    if let (false, Ok(trailers)) = (message.trailers.is_empty(), header_map(&message.trailers)) {
        let _ = frames.send(Frame::trailers(trailers));
    }
}

/// Headers without pseudo headers.
pub(super) fn header_map(pairs: &[(String, String)]) -> Result<HeaderMap, io::Error> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs.iter().filter(|(name, _)| !name.starts_with(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        map.append(name, HeaderValue::from_bytes(&bytes(value)).map_err(io::Error::other)?);
    }
    Ok(map)
}

/// As the pipe has them.
pub(super) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect()
}
