//! Tunnels: WebSocket and whatever else a `101 Switching Protocols` leads to, and what a CONNECT asks for.
//!
//! Bytes go both ways and no filter sees them. The end of one direction is passed on as a half-close, and the other one goes on; what breaks on
//! one side ends both. To an HTTP/1.1 client, and to the connection that was opened for a CONNECT, an accident is passed on as a reset, so that
//! nobody takes it for an end; hyper has no such word for a stream of HTTP/2, or for an upstream's connection that it has opened itself.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use http::Version;
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::stream::Stream;
use crate::{
    cluster::{dial::Line, lease::Lease},
    listener::io::Io,
};

/// One read's worth; also what a tunnel holds in each direction when a side does not read.
const CHUNK: usize = 16 * 1024;
/// How often a side that has ended its own direction is looked at: it may have gone altogether, and what is read from it no longer says so.
const LOOK: Duration = Duration::from_secs(1);

/// The upstream's side of a tunnel.
pub(super) enum Far {
    /// A connection, or a stream of one, that changes its protocol.
    Switched(OnUpgrade),
    /// A connection of the tunnel's own.
    Line(Box<Line>),
}

/// Joins both sides once each of them has changed its protocol. The stream lives as long as the tunnel.
pub(super) fn spawn(stream: Rc<Stream>, lease: Option<Lease>, downstream: OnUpgrade, upstream: Far) {
    let tasks = Rc::clone(&stream.runtime.tasks);
    tasks.spawn(async move {
        // A connection of HTTP/1.1 has left the pool for good: it is closed with the tunnel.
        let _lease = lease;
        let whole = match join(&stream, downstream, upstream).await {
            Ok(()) => true,
            Err(broken) => {
                stream.failed(&format!("tunnel: {broken}"));
                false
            }
        };
        stream.end(whole);
    });
}

/// Why a tunnel ended before both of its directions had.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("a side did not change its protocol: {0}")]
    Unmade(#[from] hyper::Error),
    #[error("idle for too long")]
    Idle,
    #[error("a peer does not read")]
    Stalled,
    #[error("the stream has lasted as long as its route allows")]
    Late,
    #[error("{0}")]
    Io(#[from] io::Error),
}

async fn join(stream: &Stream, downstream: OnUpgrade, upstream: Far) -> Result<(), Broken> {
    match upstream {
        Far::Switched(upstream) => {
            let (downstream, upstream) = tokio::try_join!(downstream, upstream)?;
            let (mut near, mut far) = (Near::of(downstream), TokioIo::new(upstream));
            let result = carry(stream, &mut near, &mut far).await;
            near.part(&result);
            result
        }
        Far::Line(mut line) => {
            let mut near = Near::of(downstream.await?);
            line.transport.cut();
            let result = carry(stream, &mut near, &mut line.transport).await;
            near.part(&result);
            if is_an_end(&result) {
                line.transport.spare();
            }
            result
        }
    }
}

/// Whether nothing was on its way: then an ordinary close says all there is to say.
fn is_an_end(result: &Result<(), Broken>) -> bool {
    matches!(result, Ok(()) | Err(Broken::Idle))
}

/// The client's side.
enum Near {
    /// All of a connection.
    Socket(Box<Io>),
    /// A stream of one.
    Stream(TokioIo<Upgraded>),
}

impl Near {
    fn of(upgraded: Upgraded) -> Self {
        match upgraded.downcast::<TokioIo<Io>>() {
            Ok(Parts { io, read_buf, .. }) => {
                let mut io = io.into_inner();
                if !read_buf.is_empty() {
                    let mut prefix = BytesMut::from(&*read_buf);
                    prefix.extend_from_slice(&io.prefix);
                    io.prefix = prefix.freeze();
                }
                // Until its end was seen, any other end is an accident and must look like one.
                io.transport.cut();
                Self::Socket(Box::new(io))
            }
            Err(upgraded) => Self::Stream(TokioIo::new(upgraded)),
        }
    }

    fn part(&self, result: &Result<(), Broken>) {
        if let Self::Socket(io) = self
            && is_an_end(result)
        {
            io.transport.spare();
        }
    }
}

impl AsyncRead for Near {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Socket(io) => Pin::new(io.as_mut()).poll_read(cx, buffer),
            Self::Stream(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Socket(io) => Pin::new(io.as_mut()).poll_write(cx, bytes),
            Self::Stream(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Socket(io) => Pin::new(io.as_mut()).poll_flush(cx),
            Self::Stream(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Socket(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
            Self::Stream(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// What both directions know of each other.
struct Shared {
    idle: Duration,
    last: Cell<Instant>,
    /// One direction has ended.
    half: Cell<bool>,
    ended: Notify,
}

/// Carries bytes both ways until both ways have ended, or the stream has lasted as long as its route allows.
async fn carry(
    stream: &Stream,
    near: &mut (impl AsyncRead + AsyncWrite + Unpin),
    far: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<(), Broken> {
    let (until, version) = {
        let exchange = stream.exchange.borrow();
        (stream.limits.get().end(&exchange), exchange.version)
    };
    let idle = stream.limits.get().idle.unwrap_or(stream.runtime.limits.idle_timeout);
    let shared = Shared { idle, last: Cell::new(Instant::now()), half: Cell::new(false), ended: Notify::new() };
    // The bytes of an HTTP/2 connection are counted with the connection, those of its tunnels among them.
    let apart = version < Version::HTTP_2;
    let metrics = &stream.runtime.metrics;
    let (mut near_read, mut near_write) = tokio::io::split(near);
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let sent = pipe(&mut near_read, &mut far_write, &shared, |count| {
        stream.move_on();
        stream.exchange.borrow_mut().request.bytes += count;
        if apart {
            metrics.received.add(count);
        }
    });
    let received = pipe(&mut far_read, &mut near_write, &shared, |count| {
        stream.move_on();
        stream.exchange.borrow_mut().response.bytes += count;
        if apart {
            metrics.sent.add(count);
        }
    });
    let both = async { tokio::try_join!(sent, received).map(|_| ()) };
    match until {
        None => both.await,
        Some(until) => tokio::time::timeout_at(until, both).await.unwrap_or(Err(Broken::Late)),
    }
}

/// Copies one direction; its end closes the other side's write half and leaves the opposite direction open.
async fn pipe(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    shared: &Shared,
    count: impl Fn(u64),
) -> Result<(), Broken> {
    let stalled = |_| Broken::Stalled;
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = loop {
            let half = shared.half.get();
            let mut next = shared.last.get() + shared.idle;
            if half {
                next = next.min(Instant::now() + LOOK);
            }
            tokio::select! {
                biased;
                read = from.read(&mut buffer) => break read?,
                () = shared.ended.notified(), if !half => {}
                () = sleep_until(next) => {
                    // The other direction may have moved meanwhile.
                    if shared.last.get().elapsed() >= shared.idle {
                        return Err(Broken::Idle);
                    }
                    if half {
                        timeout(shared.idle, to.flush()).await.map_err(stalled)??;
                    }
                }
            }
        };
        shared.last.set(Instant::now());
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            timeout(shared.idle, to.shutdown()).await.map_err(stalled)??;
            shared.half.set(true);
            shared.ended.notify_waiters();
            return Ok(());
        };
        let write = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        timeout(shared.idle, write).await.map_err(stalled)??;
        count(read as u64);
        shared.last.set(Instant::now());
    }
}
