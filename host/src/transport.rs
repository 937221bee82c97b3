//! Byte streams: a socket or TLS over it, one that sends small messages in one piece, and two of them joined ([`both`]).
//!
//! hyper hands over head and body as separate slices. For small messages one copy and a plain `send` cost less than a vectored write.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

pub mod both;
mod line;
pub mod outbox;
pub mod way;
mod wire;

pub use self::wire::{End, Socket, Wire};

/// Up to here a copy is cheaper than a vectored write.
const SMALL: usize = 2048;

/// A socket, or TLS over it, on either side.
#[derive(Debug)]
pub enum Transport {
    /// Bytes as they are.
    Plain(Wire),
    /// TLS.
    Tls(Box<TlsStream<Wire>>),
}

impl Transport {
    /// The socket underneath.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// See [`Wire::poll_broken`].
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(wire) => wire.poll_broken(cx),
            Self::Tls(stream) => stream.get_mut().0.poll_broken(cx),
        }
    }

    /// Makes its end look like the accident that it is: dropped, it is reset.
    pub fn cut(&self) {
        self.wire().cut();
    }

    /// Makes its end an ordinary close again.
    pub fn spare(&self) {
        self.wire().spare();
    }
}

impl both::Side for Transport {
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Self::poll_broken(self, cx)
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

/// A stream whose small vectored writes are copied together.
#[derive(Debug)]
pub struct Flat<I>(pub I);

impl<I: AsyncRead + Unpin> AsyncRead for Flat<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Flat<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        write_vectored(&mut self.0, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Writes slices, together where they are small. What was written counts from the first slice on, as with any vectored write.
pub fn write_vectored(
    to: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = slices {
        return Pin::new(to).poll_write(cx, only);
    }
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    if total > SMALL {
        return Pin::new(to).poll_write_vectored(cx, slices);
    }
    let mut together = [0_u8; SMALL];
    let mut rest = together.as_mut_slice();
    for slice in slices {
        let Some((place, after)) = rest.split_at_mut_checked(slice.len()) else { break };
        place.copy_from_slice(slice);
        rest = after;
    }
    Pin::new(to).poll_write(cx, together.get(..total).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn slices_arrive_in_order_whatever_their_size() {
        for sizes in [vec![0, 3], vec![1], vec![100, 0, 200], vec![SMALL, 1], vec![5000, 5000]] {
            let pieces: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(index, size)| vec![u8::try_from(index).unwrap() + 1; *size]).collect();
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut out = Flat(Vec::new());
            let written = poll_fn(|cx| Pin::new(&mut out).poll_write_vectored(cx, &slices)).await.unwrap();
            let all: Vec<u8> = pieces.concat();
            assert_eq!(out.0, all[..written], "{sizes:?}");
            assert!(written > 0);
        }
    }
}
