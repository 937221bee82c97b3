//! The caller's transport.

use std::{future::Future, io};

use tokio::io::{AsyncRead, AsyncWrite};

/// Dials one host. Whatever is between (TLS, a Unix socket, a PROXY header) is the implementor's.
pub trait Connect: Send + Sync + 'static {
    /// A connection that is ready for the protocol of the check.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Makes a new connection. Dropped when the check's timeout is over, so it must be cancel-safe.
    ///
    /// # Errors
    /// Whatever dialling says; its words are shown to the operator.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}
