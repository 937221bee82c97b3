//! The transport of a downstream connection, with bytes that were read before their time.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{activity::Activity, heads::Heads};
use crate::transport::{
    self, Transport,
    both::{LINGER, Side},
};

/// Reads of what nobody wants before others have their turn.
const READS: usize = 16;

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
    /// How long what the peer still sends is swallowed.
    pub farewell: Option<Pin<Box<Sleep>>>,
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
    /// Reads what the peer still sends, for a moment: a socket that is closed with something unread is reset, and the peer could lose the
    /// answer that it has not read yet (RFC 9112, section 9.6).
    fn swallow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let farewell = self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if farewell.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut sink = [0; 4096];
        for _ in 0..READS {
            let mut sink = ReadBuf::new(&mut sink);
            match Pin::new(&mut self.transport).poll_read(cx, &mut sink) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !sink.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

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
        let this = &mut *self;
        if this.farewell.is_none() {
            std::task::ready!(Pin::new(&mut this.transport).poll_shutdown(cx))?;
            if this.heads.is_some() || !this.activity.is_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        this.swallow(cx).map(Ok)
    }
}
