//! Cuts a byte stream into messages.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{HEADER, MAX_MESSAGE, int32};

/// How much is read ahead while a command is running; beyond it the client has to wait.
const READ_AHEAD: usize = 1 << 20;

/// The bytes of a connection that were read but not used.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    buffer: BytesMut,
}

impl Framer {
    /// The next whole message, or `None` at the end of the stream between two messages. Safe to cancel.
    pub(crate) async fn next<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(length) = self.length()? {
                if self.buffer.len() >= length {
                    return Ok(Some(self.buffer.split_to(length).freeze()));
                }
                self.buffer.reserve(length - self.buffer.len());
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Resolves when the peer has closed its half; reads ahead meanwhile. Safe to cancel.
    pub(crate) async fn closed<S: AsyncRead + Unpin>(&mut self, stream: &mut S) {
        while self.buffer.len() < READ_AHEAD {
            match stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending::<()>().await;
    }

    fn length(&self) -> io::Result<Option<usize>> {
        let Ok(length) = int32(&self.buffer, 0) else { return Ok(None) };
        match usize::try_from(length) {
            Ok(length) if (HEADER..=MAX_MESSAGE).contains(&length) => Ok(Some(length)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("message length {length} is out of bounds"))),
        }
    }
}
