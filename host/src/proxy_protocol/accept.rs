//! Reading a header from a connection.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Error, Header, Limits, Parsed, Progress, parse};

/// Bytes to make room for at a time: headers without certificates fit, and payload is not copied about in bulk.
const USUAL: usize = 256;

/// What a connection has to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A header, or payload (Envoy's `allow_requests_without_proxy_protocol`). A client that waits for the server to
    /// speak first and sends no header keeps this waiting: protocols of that kind need [`Mode::Require`], or
    /// [`Acceptor`] and a time limit.
    Accept,
    /// A header.
    Require,
}

/// Reads a header and returns it with the bytes that were read beyond it, which are the first of the payload. Without a
/// header, in [`Mode::Accept`], all bytes that were read are payload.
///
/// There is no time limit inside. Not cancel safe: bytes that were read are lost with the future. [`Acceptor`] keeps
/// them.
///
/// # Errors
/// [`Error`]; the connection is to be closed without an answer.
pub async fn accept(
    io: &mut (impl AsyncRead + Unpin),
    mode: Mode,
    limits: Limits,
) -> Result<(Option<Header>, Bytes), Error> {
    let mut acceptor = Acceptor::new(mode, limits);
    let header = acceptor.accept(io).await?;
    Ok((header, acceptor.into_bytes()))
}

/// Reads a header, and keeps what was read while it is not asked to.
#[derive(Debug)]
pub struct Acceptor {
    mode: Mode,
    limits: Limits,
    read: BytesMut,
}

impl Acceptor {
    /// For a connection of which nothing was read.
    #[must_use]
    pub fn new(mode: Mode, limits: Limits) -> Self {
        Self { mode, limits, read: BytesMut::new() }
    }

    /// Reads until there is a verdict. `None`: there is no header, and does not have to be.
    ///
    /// Cancel safe: may be called again, and [`Acceptor::into_bytes`] has all that was read. To be called until it has
    /// returned once, not after that.
    ///
    /// # Errors
    /// [`Error`]; the connection is to be closed without an answer.
    pub async fn accept(&mut self, io: &mut (impl AsyncRead + Unpin)) -> Result<Option<Header>, Error> {
        loop {
            let begun = match parse(&self.read, &self.limits)? {
                Parsed::Header { header, length } => {
                    let _ = self.read.split_to(length);
                    return Ok(Some(header));
                }
                Parsed::Absent => return self.without(),
                Parsed::Incomplete(progress) => progress,
            };
            // An incomplete header is always shorter than the bound, so there is room.
            let room = self.limits.bound().saturating_sub(self.read.len());
            self.read.reserve(room.min(USUAL));
            if io.read_buf(&mut (&mut self.read).limit(room)).await? == 0 {
                let read = self.read.len();
                return match begun {
                    Progress::Begun => Err(Error::Truncated { read }),
                    Progress::Perhaps => self.without(),
                };
            }
        }
    }

    /// What was read and is not part of a header.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.read.freeze()
    }

    fn without(&self) -> Result<Option<Header>, Error> {
        match self.mode {
            Mode::Accept => Ok(None),
            Mode::Require => Err(Error::Missing { read: self.read.len() }),
        }
    }
}
