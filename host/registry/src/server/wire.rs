//! Which HTTP a cleartext connection speaks. Clients with prior knowledge begin HTTP/2 with a preface that no HTTP/1.1 request is (RFC 9113, section 3.4).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Http {
    One,
    Two,
}

/// A connection of which the first bytes were read, and are read again.
#[derive(Debug)]
pub(super) struct Replay<I> {
    head: [u8; PREFACE.len()],
    from: usize,
    to: usize,
    io: I,
}

impl<I> Replay<I> {
    /// Nothing was read.
    pub(super) fn nothing(io: I) -> Self {
        Self { head: [0; PREFACE.len()], from: 0, to: 0, io }
    }

    fn head(&self) -> &[u8] {
        self.head.get(self.from..self.to).unwrap_or_default()
    }
}

/// Reads until it is clear; no more than the preface.
pub(super) async fn sniff<I: AsyncRead + Unpin>(io: I) -> io::Result<(Http, Replay<I>)> {
    let mut replay = Replay::nothing(io);
    loop {
        let head = replay.head();
        if head == PREFACE {
            return Ok((Http::Two, replay));
        }
        if !PREFACE.starts_with(head) {
            return Ok((Http::One, replay));
        }
        let rest = replay.head.get_mut(replay.to..).unwrap_or_default();
        match replay.io.read(rest).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => replay.to += read,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Replay<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.head().len().min(into.remaining());
        if count > 0 {
            into.put_slice(self.head().get(..count).unwrap_or_default());
            self.from += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Replay<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_preface_and_nothing_else_is_http2_and_all_of_it_is_read_again() {
        for (sent, http) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore"[..], Http::Two),
            (b"POST /v1 HTTP/1.1\r\n", Http::One),
            (b"PRI * HTTP/1.1\r\n", Http::One),
            (b"G", Http::One),
        ] {
            let (sniffed, mut replay) = sniff(sent).await.unwrap();
            assert_eq!(sniffed, http);
            let mut read = Vec::new();
            replay.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent);
        }
        assert!(sniff(&b"PRI"[..]).await.is_err());
    }

    #[tokio::test]
    async fn it_is_recognised_in_pieces() {
        let (mut client, server) = tokio::io::duplex(1);
        let send = async { tokio::io::AsyncWriteExt::write_all(&mut client, PREFACE).await };
        let (sent, sniffed) = tokio::join!(send, sniff(server));
        sent.unwrap();
        assert_eq!(sniffed.unwrap().0, Http::Two);
    }
}
