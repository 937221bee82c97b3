//! Sockets and TLS towards a control plane, up to HTTP/2.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, pki_types::ServerName};

use super::grpc::{Guard, RequestBody};

/// A silent connection is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// States of the world are large, and come at once.
const WINDOW: u32 = 4 << 20;

/// Where a control plane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `host:port`
    Tcp(String),
    /// The path of a socket in the file system.
    Unix(PathBuf),
}

impl Address {
    /// `host:port`, or `unix:` and a path.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(text.to_owned()),
        }
    }

    /// What requests name as their authority, unless another is given.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Tcp(address) => address.clone(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// TLS towards a control plane. The configuration says whom to believe, and which certificate to show.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Whom to believe, and what to show.
    pub config: Arc<ClientConfig>,
    /// The name that is asked for and verified.
    pub name: ServerName<'static>,
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection, which lives as long as this.
pub(super) struct Connection {
    pub sender: SendRequest<RequestBody>,
    pub driver: Guard<()>,
}

/// Connects, within a time.
///
/// # Errors
/// Whatever fails, in words.
pub(super) async fn connect(address: Address, tls: Option<Tls>, within: Duration) -> Result<Connection, String> {
    match tokio::time::timeout(within, establish(address, tls)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("no connection within {within:?}")),
    }
}

async fn establish(address: Address, tls: Option<Tls>) -> Result<Connection, String> {
    let said = |error: io::Error| format!("cannot connect: {error}");
    let socket: Box<dyn Socket> = match address {
        Address::Tcp(address) => {
            let socket = TcpStream::connect(&address).await.map_err(said)?;
            socket.set_nodelay(true).map_err(said)?;
            Box::new(socket)
        }
        Address::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(said)?),
    };
    let socket: Box<dyn Socket> = match tls {
        None => socket,
        Some(Tls { config, name }) => {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols = vec![b"h2".to_vec()];
            let connector = TlsConnector::from(Arc::new(config));
            Box::new(connector.connect(name, socket).await.map_err(|error| format!("no TLS: {error}"))?)
        }
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let handshake = builder.handshake(TokioIo::new(socket)).await;
    let (sender, driver) = handshake.map_err(|error| format!("no HTTP/2: {error}"))?;
    let driver = Guard(tokio::spawn(async move {
        // Streams tell how it ended.
        let _ = driver.await;
    }));
    Ok(Connection { sender, driver })
}
