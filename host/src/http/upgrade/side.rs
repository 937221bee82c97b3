//! A side of a tunnel: a connection that is the tunnel's own, or a stream of one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::{
    cluster::{connect, dial::Line},
    listener::io::Io,
    transport::{Transport, both::Side},
    upstream::dispatch::of_http2,
};

/// How often a stream is looked at whose peer has ended its own direction: hyper tells only whoever asks that the peer has gone altogether.
const LOOK: Duration = Duration::from_secs(5);

/// What bytes go through, on either side.
pub(super) enum End {
    /// A client's connection.
    Client(Box<Io>),
    /// A connection to an endpoint that has served requests.
    Pooled(Box<Rewound>),
    /// One that was opened for the tunnel.
    Line(Box<Line>),
    /// A stream of HTTP/2, of a client's or to an endpoint.
    Stream(Box<Multiplexed>),
}

impl End {
    /// The client's side, and how much of what will be read has been counted with its connection.
    pub fn client(upgraded: Upgraded) -> (Self, usize) {
        match upgraded.downcast::<TokioIo<Io>>() {
            Ok(Parts { io, read_buf, .. }) => {
                let mut io = io.into_inner();
                if !read_buf.is_empty() {
                    let mut prefix = BytesMut::from(&*read_buf);
                    prefix.extend_from_slice(&io.prefix);
                    io.prefix = prefix.freeze();
                }
                let counted = io.prefix.len();
                (Self::Client(Box::new(io)), counted)
            }
            Err(upgraded) => (Self::Stream(Box::new(Multiplexed::new(TokioIo::new(upgraded)))), 0),
        }
    }

    /// The upstream's side.
    pub fn endpoint(upgraded: Upgraded) -> Self {
        match connect::reclaim(upgraded) {
            Ok((transport, ahead)) => Self::Pooled(Box::new(Rewound { ahead, transport })),
            Err(upgraded) => Self::Stream(Box::new(Multiplexed::new(TokioIo::new(upgraded)))),
        }
    }

    pub fn side(&mut self) -> &mut dyn Side {
        match self {
            Self::Client(io) => &mut **io,
            Self::Pooled(rewound) => &mut **rewound,
            Self::Line(line) => &mut line.transport,
            Self::Stream(stream) => &mut **stream,
        }
    }

    fn transport(&self) -> Option<&Transport> {
        match self {
            Self::Client(io) => Some(&io.transport),
            Self::Pooled(rewound) => Some(&rewound.transport),
            Self::Line(line) => Some(&line.transport),
            Self::Stream(_) => None,
        }
    }

    /// Makes its end look like the accident that it is, where there is a word for it.
    pub fn cut(&self) {
        self.transport().into_iter().for_each(Transport::cut);
    }

    /// Makes its end an ordinary close again.
    pub fn spare(&self) {
        self.transport().into_iter().for_each(Transport::spare);
    }
}

/// A transport, and what hyper has read of it.
pub(super) struct Rewound {
    ahead: Bytes,
    transport: Transport,
}

impl Side for Rewound {
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.transport.poll_broken(cx)
    }
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

/// A stream of HTTP/2, whose resets are told as what they are.
///
/// For hyper a reset with CANCEL or NO_ERROR is an end when it is read; only writing tells. What writes is a task of hyper's own, which may
/// learn of the reset a moment after the reader.
pub(super) struct Multiplexed {
    io: TokioIo<Upgraded>,
    /// An end was read, and hyper's task has had its turn since.
    waited: bool,
    look: Option<Pin<Box<Sleep>>>,
}

impl Multiplexed {
    fn new(io: TokioIo<Upgraded>) -> Self {
        Self { io, waited: false, look: None }
    }
}

/// Gives an error of hyper's the kind it would have of a socket. With NO_ERROR (RFC 9113, section 8.1) a peer says that it has all it wants:
/// what it has said itself is whole.
fn told(error: io::Error) -> io::Error {
    let reason = error.get_ref().and_then(|error| of_http2(error)).and_then(h2::Error::reason);
    let wants_no_more = reason == Some(h2::Reason::NO_ERROR);
    let unexplained = error.kind() == io::ErrorKind::BrokenPipe;
    let kind = if wants_no_more || unexplained { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset };
    io::Error::new(kind, error)
}

impl Side for Multiplexed {
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Poll::Ready(Err(_)) = Pin::new(&mut self.io).poll_flush(cx) {
                return Poll::Ready(());
            }
            let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            ready!(look.as_mut().poll(cx));
            look.as_mut().reset(Instant::now() + LOOK);
        }
    }
}

impl AsyncRead for Multiplexed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer)).map_err(told)?;
        if buffer.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        if !self.waited {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match Pin::new(&mut self.io).poll_flush(cx).map_err(told) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Poll::Ready(Err(error)),
            Poll::Ready(_) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Multiplexed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes).map_err(told)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx).map_err(told)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx).map_err(told)
    }
}
