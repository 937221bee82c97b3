//! What the checks over plain bytes share: bounded reading, and words for what came.

use std::{future::poll_fn, io, pin::Pin, task::Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{Failure, Verdict};

/// The most that a check sends, in bytes.
pub(super) const SEND_LIMIT: usize = 64 * 1024;
/// The most that a check keeps of what a host sends, in bytes.
pub(super) const RECEIVE_LIMIT: usize = 64 * 1024;
/// How much of an answer is shown to an operator, in characters.
const EXCERPT: usize = 80;

/// A check that came to its end over a connection.
#[derive(Debug)]
pub(super) struct Asked {
    pub verdict: Verdict,
    pub afterwards: Afterwards,
}

/// Whether a connection can carry another check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    Keep,
    Close,
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Bytes,
    Closed,
}

impl Asked {
    pub(super) fn keep(verdict: Verdict) -> Self {
        Self { verdict, afterwards: Afterwards::Keep }
    }

    pub(super) fn close(verdict: Verdict) -> Self {
        Self { verdict, afterwards: Afterwards::Close }
    }

    /// `keep` only where nothing followed the answer: what did would be taken for the next one's.
    pub(super) fn keep_unless_followed(verdict: Verdict, rest: &[u8]) -> Self {
        if rest.is_empty() { Self::keep(verdict) } else { Self::close(verdict) }
    }
}

/// Sends all of `bytes`.
pub(super) async fn send<I: AsyncWrite + Unpin>(io: &mut I, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    let sent = async {
        io.write_all(bytes).await?;
        io.flush().await
    };
    sent.await.map_err(|error| Failure::network(io_words(&error)))
}

/// Appends what has come to `buffer`, which never grows beyond `limit`.
///
/// Fails when it has `limit` bytes already: the answer is longer than any that would do.
pub(super) async fn read<I>(io: &mut I, buffer: &mut Vec<u8>, limit: usize) -> Result<Read, Failure>
where
    I: AsyncRead + Unpin,
{
    let mut chunk = [0; 4096];
    let space = limit.saturating_sub(buffer.len()).min(chunk.len());
    let Some(chunk) = chunk.get_mut(..space).filter(|chunk| !chunk.is_empty()) else {
        return Err(Failure::network(format!("the answer is longer than {limit} bytes")));
    };
    let length = io.read(chunk).await.map_err(|error| Failure::network(io_words(&error)))?;
    buffer.extend_from_slice(chunk.get(..length).unwrap_or_default());
    Ok(if length == 0 { Read::Closed } else { Read::Bytes })
}

/// The failure of a host that closed with only this much of an answer sent.
pub(super) fn closed_after(received: &[u8]) -> Failure {
    if received.is_empty() {
        Failure::network("connection closed before an answer")
    } else {
        Failure::network(format!("connection closed after {} bytes of an answer", received.len()))
    }
}

/// Whether an idle connection is still open and silent. Looks once, never waits.
pub(super) async fn is_quiet<I: AsyncRead + Unpin>(io: &mut I) -> bool {
    poll_fn(|context| {
        let mut byte = [0; 1];
        Poll::Ready(Pin::new(&mut *io).poll_read(context, &mut ReadBuf::new(&mut byte)).is_pending())
    })
    .await
}

/// An I/O error as an operator would say it.
pub(super) fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset by the host".into(),
        io::ErrorKind::HostUnreachable => "no route to the host".into(),
        io::ErrorKind::NetworkUnreachable => "no route to the network".into(),
        io::ErrorKind::NotFound => "no such socket".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::UnexpectedEof => "connection closed in the middle".into(),
        _ => error.to_string(),
    }
}

/// The beginning of what a host sent, safe to show: control characters are escaped, the rest is cut off.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    // Four bytes a character at most; no more than that needs to be looked at.
    let head = bytes.get(..EXCERPT * 4).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head);
    let mut shown: String = text.chars().take(EXCERPT).flat_map(char::escape_debug).collect();
    if text.chars().count() > EXCERPT || head.len() < bytes.len() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_sent_is_shown_short_and_without_control_characters() {
        assert_eq!(excerpt(b"-ERR\r\n\x1b[31m"), "-ERR\\r\\n\\u{1b}[31m");
        assert_eq!(excerpt(&[b'a'; 80]), "a".repeat(80));
        assert_eq!(excerpt(&vec![b'a'; 100_000]), format!("{}...", "a".repeat(80)));
        assert_eq!(excerpt(&[0xff, b'x']), "\u{fffd}x");
    }

    #[tokio::test]
    async fn a_buffer_never_grows_beyond_its_limit() {
        let (mut near, mut far) = tokio::io::duplex(10_000);
        far.write_all(&[1; 10_000]).await.unwrap();
        let mut buffer = Vec::new();
        while read(&mut near, &mut buffer, 5000).await.is_ok() {}
        assert_eq!(buffer.len(), 5000);
    }

    #[tokio::test]
    async fn a_connection_with_unasked_bytes_or_an_end_is_not_quiet() {
        let (mut near, mut far) = tokio::io::duplex(10);
        assert!(is_quiet(&mut near).await);
        far.write_all(b"x").await.unwrap();
        assert!(!is_quiet(&mut near).await);
        assert!(is_quiet(&mut near).await);
        drop(far);
        assert!(!is_quiet(&mut near).await);
    }
}
