//! `PING`, or `EXISTS key` (Envoy's `envoy.health_checkers.redis`).
//!
//! With a key, the host is well while the key does not exist: an operator takes it out by setting the key.
//! One line of an answer is read, of at most 512 bytes; errors such as `-LOADING` or `-NOAUTH` fail at once, and are
//! shown.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Failure, Verdict,
    raw::{self, Asked, Read},
};

/// An error of Redis is a line; none that is known comes near this.
const LINE_LIMIT: usize = 512;

pub(super) async fn ask<I>(key: Option<&Bytes>, io: &mut I) -> Result<Asked, Failure>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    match key {
        None => raw::send(io, b"*1\r\n$4\r\nPING\r\n").await?,
        Some(key) => raw::send(io, &exists(key)).await?,
    }
    let mut received = Vec::new();
    loop {
        if let Some((line, rest)) = split_line(&received) {
            return Ok(Asked::keep_unless_followed(judge(key, line), rest));
        }
        if raw::read(io, &mut received, LINE_LIMIT).await? == Read::Closed {
            return Err(raw::closed_after(&received));
        }
    }
}

fn exists(key: &Bytes) -> Vec<u8> {
    let mut command = format!("*2\r\n$6\r\nEXISTS\r\n${}\r\n", key.len()).into_bytes();
    command.extend_from_slice(key);
    command.extend_from_slice(b"\r\n");
    command
}

fn split_line(received: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = received.windows(2).position(|window| window == b"\r\n")?;
    Some((received.get(..end)?, received.get(end.checked_add(2)?..)?))
}

fn judge(key: Option<&Bytes>, line: &[u8]) -> Verdict {
    let (command, expected) = match key {
        None => ("PING".to_owned(), "+PONG"),
        Some(key) => (format!("EXISTS {}", raw::excerpt(key)), ":0"),
    };
    if line == expected.as_bytes() {
        return Verdict::Passed;
    }
    let words = match (key, line) {
        (Some(key), b":1") => format!("the key {} exists: this host is taken out", raw::excerpt(key)),
        (_, line) if line.starts_with(b"-") => format!("{command} answered an error: {}", raw::excerpt(line)),
        (_, line) => format!("{command} answered \"{}\", expected \"{expected}\"", raw::excerpt(line)),
    };
    Verdict::Failed(Failure::active(words))
}
