//! The upstream and the clusters. What they answer, the test says.

use std::{io, net::TcpListener, rc::Rc};

use bytes::{Buf as _, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;

use super::{
    bench::Bench,
    client::{Body, Frames, body, channel, header_map, pairs},
    protocol::{Answer, GrpcAnswer, Message, bytes, text},
};
use crate::cluster::connect::LocalExecutor;

/// Where a cluster listens.
pub(super) struct Socket {
    /// Its name.
    pub cluster: String,
    /// Whether streams end there, and not only calls of the filter.
    pub takes_streams: bool,
    /// Whether it takes connections as they are.
    pub tcp: bool,
    /// The socket.
    pub socket: TcpListener,
}

type Reply = Response<Body>;

/// Serves a cluster, as long as the thread lives.
pub(super) fn spawn(bench: &Rc<Bench>, socket: Socket) {
    let Socket { cluster, takes_streams, tcp, socket } = socket;
    let listener = socket.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(socket));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the test's cluster {cluster} cannot listen: {error}"),
    };
    if tcp {
        tokio::task::spawn_local(super::tcp::accept(Rc::clone(bench), listener));
        return;
    }
    let (bench, cluster): (_, Rc<str>) = (Rc::clone(bench), cluster.into());
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (bench, cluster) = (Rc::clone(&bench), Rc::clone(&cluster));
            let service =
                service_fn(move |request| serve(Rc::clone(&bench), Rc::clone(&cluster), takes_streams, request));
            tokio::task::spawn_local(async move {
                // A connection that ends is no news: its streams are what tests look at.
                let _ = hyper::server::conn::http2::Builder::new(LocalExecutor)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn serve(
    bench: Rc<Bench>,
    cluster: Rc<str>,
    takes_streams: bool,
    request: Request<Incoming>,
) -> io::Result<Reply> {
    bench.event();
    let is_grpc = request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc && !takes_streams {
        return grpc(bench, cluster, request).await;
    }
    let (parts, mut body) = request.into_parts();
    let mut message = Message { headers: request_headers(&parts), ..Message::default() };
    while let Some(frame) = body.frame().await {
        bench.event();
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(data) => message.chunks.push(text(&data)),
            Err(frame) => message.trailers.extend(frame.trailers_ref().map(pairs).unwrap_or_default()),
        }
    }
    if takes_streams {
        bench.arrived(&message);
    }
    match bench.ask(&json!({ "request": { "cluster": &*cluster, "stream": takes_streams, "message": message } }))? {
        Answer::Message(message) => answer(&bench, message),
        Answer::Hang => std::future::pending().await,
        Answer::Reset => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

fn request_headers(parts: &http::request::Parts) -> Vec<(String, String)> {
    let mut headers = vec![
        (":method".to_owned(), parts.method.as_str().to_owned()),
        (":path".to_owned(), parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()),
        (":scheme".to_owned(), parts.uri.scheme_str().unwrap_or("http").to_owned()),
        (":authority".to_owned(), parts.uri.authority().map(|one| one.to_string()).unwrap_or_default()),
    ];
    headers.extend(pairs(&parts.headers));
    headers
}

fn answer(bench: &Rc<Bench>, message: Message) -> io::Result<Reply> {
    let status =
        message.headers.iter().find(|(name, _)| name == ":status").map_or("200", |(_, status)| status.as_str());
    let mut response = Response::builder().status(status).body(()).map_err(io::Error::other)?;
    *response.headers_mut() = header_map(&message.headers)?;
    let body = body(bench, message);
    Ok(response.map(|()| body))
}

/// A gRPC call: the test is asked whenever new messages are here, and at the end.
async fn grpc(bench: Rc<Bench>, cluster: Rc<str>, request: Request<Incoming>) -> io::Result<Reply> {
    let (frames, body) = channel();
    let (parts, incoming) = request.into_parts();
    tokio::task::spawn_local(async move {
        let end = converse(&bench, &cluster, &parts, incoming, &frames).await;
        bench.event();
        let (code, message) = match end {
            Ok(Some(end)) => end,
            Ok(None) => return std::future::pending().await,
            Err(error) => (13, error.to_string()),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(code));
        if let Ok(message) = HeaderValue::from_str(&message) {
            trailers.insert("grpc-message", message);
        }
        let _ = frames.send(Frame::trailers(trailers));
    });
    Response::builder().header(http::header::CONTENT_TYPE, "application/grpc").body(body).map_err(io::Error::other)
}

/// `None`: it hangs.
async fn converse(
    bench: &Bench,
    cluster: &str,
    parts: &http::request::Parts,
    mut body: Incoming,
    frames: &Frames,
) -> io::Result<Option<(u32, String)>> {
    let mut buffer = BytesMut::new();
    let mut finished = false;
    while !finished {
        match body.frame().await {
            Some(frame) => buffer.extend(frame.map_err(io::Error::other)?.into_data().unwrap_or_default()),
            None => finished = true,
        }
        // A last message and the end of the stream are sent together; here they may come apart.
        bench.some_turns().await;
        while !finished && let Some(next) = body.frame().now_or_never() {
            match next {
                Some(frame) => buffer.extend(frame.map_err(io::Error::other)?.into_data().unwrap_or_default()),
                None => finished = true,
            }
        }
        finished |= body.is_end_stream();
        let answer: GrpcAnswer = bench.ask(&json!({ "grpc": {
            "cluster": cluster,
            "path": parts.uri.path(),
            "metadata": pairs(&parts.headers),
            "messages": messages(&mut buffer),
            "finished": finished,
        } }))?;
        if answer.hang {
            return Ok(None);
        }
        for message in answer.messages {
            let message = bytes(&message);
            let length = u32::try_from(message.len()).map_err(io::Error::other)?;
            let framed = [&[0][..], &length.to_be_bytes(), &message].concat();
            let _ = frames.send(Frame::data(framed.into()));
        }
        if answer.status.is_some() {
            return Ok(answer.status);
        }
    }
    Ok(Some((0, String::new())))
}

/// The messages that are whole.
fn messages(buffer: &mut BytesMut) -> Vec<String> {
    let mut whole = Vec::new();
    while let Some(&[_, a, b, c, d]) = buffer.first_chunk::<5>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if buffer.len() - 5 < length {
            break;
        }
        buffer.advance(5);
        whole.push(text(&buffer.split_to(length)));
    }
    whole
}
