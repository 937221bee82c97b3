//! From an endpoint to a stream of bytes. TLS is the host's: it gives its own [`Connect`].

use std::{fmt, future::Future, io, pin::Pin};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::telemetry::otlp::{
    endpoint::{Address, Endpoint, Security},
    settings::Protocol,
};

/// A connection: a socket, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What [`Connect`] gives.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Makes connections to a collector.
pub trait Connect: Send + Sync + fmt::Debug {
    /// A new connection to `endpoint`, with TLS where [`Endpoint::security`] says so. With TLS, `protocol` says what to
    /// offer by ALPN: `h2` for gRPC, `http/1.1` for HTTP. Dropped when it takes too long; never called twice at once by
    /// one exporter.
    ///
    /// # Errors
    /// Whatever keeps it from connecting.
    fn connect<'a>(&'a self, endpoint: &'a Endpoint, protocol: Protocol) -> Connecting<'a>;
}

/// Sockets without TLS; names are resolved by the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Connect for Plain {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint, _: Protocol) -> Connecting<'a> {
        Box::pin(async move {
            if endpoint.security() == Security::Tls {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "no TLS here"));
            }
            let stream: Box<dyn Stream> = match endpoint.address() {
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    // Requests are whole; to wait for more only delays their end.
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            };
            Ok(stream)
        })
    }
}
