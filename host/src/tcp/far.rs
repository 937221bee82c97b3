//! The side of a connection that is lent to it: now this endpoint's, now that one's, now nobody's.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    cluster::lending::Lent,
    transport::{Transport, both::Side},
};

/// What a borrowed connection reads and writes. While there is none, both wait; its end, or its failure, is no end of the side: it is noted.
#[derive(Default)]
pub(super) struct Far {
    lent: Option<Lent>,
    over: Option<io::Result<()>>,
    /// Bytes that were read and written, of all that were lent.
    moved: u64,
}

impl Far {
    /// Another connection.
    pub fn put(&mut self, lent: Lent) {
        self.lent = Some(lent);
        self.over = None;
    }

    /// Takes the connection away.
    pub fn take(&mut self) -> Option<Lent> {
        self.over = None;
        self.lent.take()
    }

    /// The connection that is lent.
    pub fn lent(&self) -> Option<&Lent> {
        self.lent.as_ref()
    }

    /// A number that changes with every byte.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    fn moves(&mut self, count: usize) {
        self.moved = self.moved.wrapping_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// How the connection ended, if it has.
    pub fn over(&self) -> Option<&io::Result<()>> {
        self.over.as_ref()
    }

    fn transport(&mut self) -> Option<Pin<&mut Transport>> {
        if self.over.is_some() {
            return None;
        }
        self.lent.as_mut()?.transport().map(Pin::new)
    }

    fn fails(&mut self, error: io::Error) {
        self.over = Some(Err(error));
    }
}

impl Side for Far {
    /// Its end is told otherwise.
    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl AsyncRead for Far {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Some(transport) = self.transport() else { return Poll::Pending };
        match ready!(transport.poll_read(cx, buffer)) {
            Ok(()) if buffer.filled().len() > before => {
                self.moves(buffer.filled().len() - before);
                Poll::Ready(Ok(()))
            }
            Ok(()) => {
                self.over = Some(Ok(()));
                Poll::Pending
            }
            Err(error) => {
                self.fails(error);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Far {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(transport) = self.transport() else { return Poll::Pending };
        match ready!(transport.poll_write(cx, bytes)) {
            Ok(count) if count > 0 => {
                self.moves(count);
                Poll::Ready(Ok(count))
            }
            Ok(_) => {
                self.fails(io::ErrorKind::WriteZero.into());
                Poll::Pending
            }
            Err(error) => {
                self.fails(error);
                Poll::Pending
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(transport) = self.transport() else { return Poll::Ready(Ok(())) };
        if let Err(error) = ready!(transport.poll_flush(cx)) {
            self.fails(error);
        }
        Poll::Ready(Ok(()))
    }

    /// The client's end is none for whoever has the connection next.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
