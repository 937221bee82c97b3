//! One HTTP connection to a host, kept from check to check.
//!
//! Its task ends with it: dropping a session aborts whatever hyper had spawned for it, so that a host that neither
//! answers nor closes leaves nothing behind.

use std::{
    error::Error,
    future::Future,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::{Failure, HttpProtocol, raw};

/// Bytes of an answer's headers.
const HEADER_LIMIT: usize = 64 * 1024;
/// The same for HTTP/2, where it is told to the host; hyper's own default.
const HEADER_LIST_LIMIT: u32 = 16 * 1024;
/// Headers of an answer.
const HEADERS: usize = 100;

const INCOMPLETE: &str = "connection closed before the answer was complete";

/// A connection over which requests are sent one after the other.
#[derive(Debug)]
pub(in crate::cluster) struct HttpSession {
    sender: Sender,
    tasks: Tasks,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl HttpSession {
    pub(in crate::cluster) async fn open<I>(io: I, protocol: HttpProtocol) -> Result<Self, Failure>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let tasks = Tasks::default();
        let io = TokioIo::new(io);
        let sender = match protocol {
            HttpProtocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.max_buf_size(HEADER_LIMIT).max_headers(HEADERS);
                let (sender, connection) = builder.handshake(io).await.map_err(|error| failure(&error))?;
                tasks.execute(async move { drop(connection.await) });
                Sender::Http1(sender)
            }
            HttpProtocol::Http2 => {
                let mut builder = http2::Builder::new(tasks.clone());
                builder.max_header_list_size(HEADER_LIST_LIMIT);
                let (sender, connection) = builder.handshake(io).await.map_err(|error| failure(&error))?;
                tasks.execute(async move { drop(connection.await) });
                Sender::Http2(sender)
            }
        };
        Ok(Self { sender, tasks })
    }

    /// Whether it is known to be of no more use.
    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends a request and awaits the head of its answer.
    pub(in crate::cluster) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let response = match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
        };
        response.map_err(|error| failure(&error))
    }
}

impl Drop for HttpSession {
    fn drop(&mut self) {
        self.tasks.lock().abort_all();
    }
}

/// The tasks of a connection. One of HTTP/2's holds a clone of this, so the end of the set may come late: the session
/// aborts them.
#[derive(Debug, Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let mut tasks = self.lock();
        // Those that ended are let go of here, or a long life would collect them.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move { drop(future.await) });
    }
}

/// hyper's errors say what hyper was doing; what the host did is at the end of their chain, if anywhere.
pub(super) fn failure(error: &hyper::Error) -> Failure {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Failure::network(INCOMPLETE);
    }
    if error.is_parse_too_large() {
        return Failure::network("the answer's headers are too long");
    }
    if error.is_parse() {
        return Failure::network(format!("the answer is not HTTP: {}", raw::excerpt(root(error).as_bytes())));
    }
    Failure::network(root(error))
}

fn root(error: &hyper::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    match last.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => INCOMPLETE.into(),
        Some(error) => raw::io_words(error),
        None => last.to_string(),
    }
}
