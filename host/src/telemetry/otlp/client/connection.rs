//! A connection and everything that runs for it.
//!
//! hyper spawns tasks: one for the connection, and with HTTP/2 more of them. They are kept in one set, which ends them
//! all when the connection is dropped: otherwise a collector that answers nothing and closes nothing would keep
//! a socket for each attempt.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::Failure;
use crate::telemetry::otlp::{connect::Stream, settings::Protocol};

/// Largest head of an answer, in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Most headers of an answer.
const HEADERS: usize = 100;
/// What a collector may send ahead of being read, per stream and altogether.
const WINDOW: u32 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    tasks: Tasks,
    /// Why the connection ended, where hyper tells its task and not the request: when it ended before the request
    /// began.
    ended: Ended,
}

type Ended = Arc<Mutex<Option<Failure>>>;

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Begins to speak HTTP. With HTTP/2 the preface is sent, but nothing is waited for.
    pub(super) async fn open(stream: Box<dyn Stream>, protocol: Protocol) -> hyper::Result<Self> {
        let io = TokioIo::new(stream);
        let tasks = Tasks::default();
        let ended = Ended::default();
        let sender = match protocol {
            Protocol::Http => {
                let (sender, connection) =
                    http1::Builder::new().max_buf_size(HEAD_BYTES).max_headers(HEADERS).handshake(io).await?;
                tasks.spawn(watched(connection, Arc::clone(&ended)));
                Sender::Http1(sender)
            }
            Protocol::Grpc => {
                let (sender, connection) = http2::Builder::new(tasks.clone())
                    .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .handshake(io)
                    .await?;
                tasks.spawn(watched(connection, Arc::clone(&ended)));
                Sender::Http2(sender)
            }
        };
        Ok(Self { sender, tasks, ended })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
        };
        sent.map_err(|error| {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
            ended.filter(|_| error.is_canceled() || error.is_closed()).unwrap_or_else(|| Failure::hyper(&error))
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

/// Runs a connection and keeps why it ended.
async fn watched(connection: impl Future<Output = hyper::Result<()>>, ended: Ended) {
    // It lives until the reason is there: the request learns of its end when it is dropped.
    let mut connection = pin!(connection);
    if let Err(error) = connection.as_mut().await {
        *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure::hyper(&error));
    }
}

/// Tasks that end together. Each of them may hold a clone, so dropping clones ends nothing.
#[derive(Debug, Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // HTTP/2 spawns for each request: without this the set would grow with the age of the connection.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F: Future + Send + 'static> Executor<F> for Tasks
where
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.spawn(async { drop(task.await) });
    }
}
