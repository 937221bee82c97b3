//! The transport of a downstream connection, with bytes that were read before their time.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{activity::Activity, heads::Heads};
use crate::transport::{self, Transport, both::Side};

/// A transport that counts.
#[derive(Debug)]
pub struct Io {
    /// Underneath.
    pub transport: Transport,
    /// Read before anybody wanted it.
    pub prefix: Bytes,
    /// Where it counts.
    pub activity: Arc<Activity>,
    /// With HTTP/2: follows the frames.
    pub heads: Option<Heads>,
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.prefix.is_empty() {
            let count = this.prefix.len().min(buffer.remaining());
            let taken = this.prefix.get(..count).unwrap_or_default();
            buffer.put_slice(taken);
            // Counted when it was read.
            if let Some(heads) = &mut this.heads {
                heads.follow(taken);
            }
            this.prefix.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.transport).poll_read(cx, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        match &mut this.heads {
            _ if read.is_empty() => {}
            Some(heads) => this.activity.count_frames(read.len(), heads.follow(read)),
            None => this.activity.count_received(read.len()),
        }
        polled
    }
}

impl Side for Io {
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.transport.poll_broken(cx)
    }
}

impl Io {
    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Pending => self.activity.block(),
            Poll::Ready(Ok(count)) => self.activity.count_sent(*count),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.transport).poll_write(cx, bytes);
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = transport::write_vectored(&mut self.transport, cx, bytes);
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.transport).poll_flush(cx);
        match polled {
            Poll::Pending => self.activity.block(),
            Poll::Ready(Ok(())) => self.activity.unblock(),
            Poll::Ready(Err(_)) => {}
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
