//! Opens connections: TCP, TLS, HTTP.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use hyper::{
    client::conn::{http1, http2},
    upgrade::{Parts, Upgraded},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{
    RequestBody,
    error::ClusterError,
    happy_eyeballs,
    settings::{Preface, Settings},
};
use crate::{
    certificate::{Presents, Tls},
    config::resolved::{Cluster, ClusterProtocol, ClusterTls, Endpoint, ProxyProtocolVersion, Sni},
    proxy_protocol::{self, Endpoints},
    transport::{Flat, Transport, Wire},
};

/// Bytes of an answer that an endpoint may send over HTTP/2 before they are taken.
const STREAM_WINDOW: u32 = 512 * 1024;

/// Spawns hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

/// A connection that speaks HTTP.
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// Many; and what the endpoint says of itself.
    Http2(http2::SendRequest<RequestBody>, Arc<Settings>),
}

/// What is known of a connection to an endpoint, apart from the endpoint.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// Our address.
    pub local: Option<SocketAddr>,
    /// Its TLS.
    pub tls: Option<Rc<Tls>>,
}

/// What a new connection is to be for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asks<'a> {
    /// What TLS asks for with `sni: auto`.
    pub host: Option<&'a str>,
    /// Who is told to be the client, and where it connected to.
    pub client: Option<(SocketAddr, SocketAddr)>,
}

/// A fresh connection.
pub struct Opened<K> {
    /// Takes requests.
    pub sender: Sender,
    /// What is known of it.
    pub ends: Ends,
    /// What the connection keeps while it is open. Whoever turns it into a tunnel keeps it too: for hyper it is over then.
    pub kept: Rc<K>,
}

/// Opens a connection and runs it in a task of its own; `kept` is dropped when the connection is closed.
///
/// Cancel safe: dropping the future drops what was opened.
///
/// # Errors
/// [`ClusterError`], without a time limit: the caller sets it.
pub async fn open<K: 'static>(
    settings: &Cluster,
    endpoint: &Endpoint,
    asks: Asks<'_>,
    kept: K,
) -> Result<Opened<K>, ClusterError> {
    let kept = Rc::new(kept);
    let address = endpoint.address;
    let (transport, ends) = transport(settings, endpoint, asks).await?;
    let stream = match transport {
        Transport::Tls(stream) => stream,
        Transport::Plain(stream) => {
            let http2 = settings.protocol == ClusterProtocol::Http2;
            let sender = handshake(settings, stream, http2, address, Rc::clone(&kept)).await?;
            return Ok(Opened { sender, ends, kept });
        }
    };
    let agreed = stream.get_ref().1.alpn_protocol();
    let http2 = match settings.protocol {
        ClusterProtocol::Http1 | ClusterProtocol::Tcp => false,
        ClusterProtocol::Auto => agreed == Some(b"h2"),
        ClusterProtocol::Http2 if agreed == Some(b"h2") => true,
        ClusterProtocol::Http2 => {
            let error = io::Error::other("the endpoint did not agree to HTTP/2 (ALPN); use `protocol: auto` or http1");
            return Err(ClusterError::Tls { address, error });
        }
    };
    let sender = handshake(settings, *stream, http2, address, Rc::clone(&kept)).await?;
    Ok(Opened { sender, ends, kept })
}

/// Connects, with TLS where the cluster says so.
///
/// # Errors
/// [`ClusterError`], without a time limit: the caller sets it.
pub(super) async fn transport(
    settings: &Cluster,
    endpoint: &Endpoint,
    asks: Asks<'_>,
) -> Result<(Transport, Ends), ClusterError> {
    let address = endpoint.address;
    let stream = happy_eyeballs::connect(address, &endpoint.others, |address| tcp(settings, address)).await;
    let stream = stream.map_err(|error| ClusterError::Connect { address, error })?;
    let local = stream.local_addr().ok();
    let mut stream = Wire::from(stream);
    if let Some(version) = settings.proxy_protocol {
        let header = header(version, asks.client);
        stream.write_all(&header).await.map_err(|error| ClusterError::Connect { address, error })?;
    }
    let Some(tls) = &settings.tls else { return Ok((Transport::Plain(stream), Ends { local, tls: None })) };
    let stream =
        encrypted(tls, address, asks.host, stream).await.map_err(|error| ClusterError::Tls { address, error })?;
    let presents = tls.identity.clone().map_or(Presents::Nothing, Presents::Key);
    let agreed = Tls::of(stream.get_ref().1, None, presents);
    Ok((Transport::Tls(Box::new(stream.into())), Ends { local, tls: Some(Rc::new(agreed)) }))
}

/// The same for whoever does not care what is agreed on: health checks.
///
/// # Errors
/// Of the system, and of TLS.
pub(super) async fn plainly(
    settings: &Cluster,
    tls: Option<&ClusterTls>,
    address: SocketAddr,
    host: Option<&str>,
) -> io::Result<Transport> {
    let mut stream = Wire::from(tcp(settings, address).await?);
    if let Some(version) = settings.proxy_protocol {
        // It is about nobody's connection but this one.
        stream.write_all(&header(version, None)).await?;
    }
    match tls {
        None => Ok(Transport::Plain(stream)),
        Some(tls) => Ok(Transport::Tls(Box::new(encrypted(tls, address, host, stream).await?.into()))),
    }
}

/// Says whose connection it is; nobody's in particular where there is no client with an address.
fn header(version: ProxyProtocolVersion, client: Option<(SocketAddr, SocketAddr)>) -> Bytes {
    let endpoints = client.map_or(Endpoints::Local, |(source, destination)| Endpoints::internet(source, destination));
    match version {
        ProxyProtocolVersion::V1 => proxy_protocol::encode_v1(&endpoints),
        // Without further fields there is nothing that could be too long.
        ProxyProtocolVersion::V2 => {
            proxy_protocol::encode_v2(&endpoints, &[], proxy_protocol::Checksum::None).unwrap_or_default()
        }
    }
}

async fn tcp(settings: &Cluster, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = match settings.bind {
        Some(bind) if bind.is_ipv4() == address.is_ipv4() => {
            let socket = if bind.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(SocketAddr::new(bind, 0))?;
            socket.connect(address).await?
        }
        _ => TcpStream::connect(address).await?,
    };
    if let Some(keepalive) = &settings.pool.keepalive {
        let probes = TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
        SockRef::from(&stream).set_tcp_keepalive(&probes.with_retries(keepalive.probes))?;
    }
    // Small writes must not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn encrypted(
    tls: &ClusterTls,
    address: SocketAddr,
    host: Option<&str>,
    stream: Wire,
) -> io::Result<tokio_rustls::client::TlsStream<Wire>> {
    let name = server_name(tls, address, host)?;
    tokio_rustls::TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream).await
}

fn server_name(tls: &ClusterTls, address: SocketAddr, host: Option<&str>) -> io::Result<ServerName<'static>> {
    match &tls.sni {
        Sni::Name(name) => Ok(name.clone()),
        Sni::Auto => {
            let host = host.map(strip_port).filter(|host| !host.is_empty());
            match host.map(|host| ServerName::try_from(host.to_owned())) {
                Some(Ok(name)) => Ok(name),
                _ => Ok(ServerName::IpAddress(address.ip().into())),
            }
        }
    }
}

/// Whether a handshake failed because the endpoint's certificate is for other names.
#[must_use]
pub fn is_of_another_name(error: &io::Error) -> bool {
    use rustls::{CertificateError, Error};

    let found = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    matches!(
        found,
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ))
    )
}

/// The host of an authority, without its port and without the brackets of IPv6.
#[must_use]
pub fn strip_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The window of a connection whose streams have this one each, of at most so many (RFC 9113, section 6.9.1).
#[must_use]
pub fn window(of_stream: u32, streams: u32) -> u32 {
    const MOST: u32 = (1 << 31) - 1;
    of_stream.saturating_mul(streams.max(1)).min(MOST)
}

async fn handshake<I, K>(
    settings: &Cluster,
    io: I,
    http2: bool,
    address: SocketAddr,
    kept: Rc<K>,
) -> Result<Sender, ClusterError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    K: 'static,
{
    let failed = |error| ClusterError::Handshake { address, error };
    if http2 {
        let settings_of_peer = Arc::new(Settings::default());
        let io = TokioIo::new(Preface::new(Flat(io), Arc::clone(&settings_of_peer)));
        let mut builder = http2::Builder::new(LocalExecutor);
        if let Some((interval, timeout)) = settings.pool.ping {
            builder.keep_alive_interval(interval).keep_alive_timeout(timeout).keep_alive_while_idle(true);
        }
        let (sender, connection) = builder
            .timer(TokioTimer::new())
            // Room for all streams: some whose clients do not read do not stop the others.
            .initial_connection_window_size(window(STREAM_WINDOW, settings.pool.streams_per_connection))
            .initial_stream_window_size(STREAM_WINDOW)
            .max_header_list_size(256 * 1024)
            .handshake(io)
            .await
            .map_err(failed)?;
        drive(connection, address, kept);
        Ok(Sender::Http2(sender, settings_of_peer))
    } else {
        let io = TokioIo::new(Flat(io));
        let (sender, connection) = http1::Builder::new().max_headers(256).handshake(io).await.map_err(failed)?;
        drive(connection.with_upgrades(), address, kept);
        Ok(Sender::Http1(sender))
    }
}

/// The connection of an HTTP/1.1 request that has become a tunnel, and what was read of it beyond the answer's head.
///
/// # Errors
/// It is a stream of HTTP/2.
pub fn reclaim(upgraded: Upgraded) -> Result<(Transport, Bytes), Upgraded> {
    let upgraded = match upgraded.downcast::<TokioIo<Flat<Wire>>>() {
        Ok(Parts { io, read_buf, .. }) => return Ok((Transport::Plain(io.into_inner().0), read_buf)),
        Err(upgraded) => upgraded,
    };
    let Parts { io, read_buf, .. } = upgraded.downcast::<TokioIo<Flat<tokio_rustls::client::TlsStream<Wire>>>>()?;
    Ok((Transport::Tls(Box::new(io.into_inner().0.into())), read_buf))
}

fn drive<K: 'static>(connection: impl Future<Output = hyper::Result<()>> + 'static, address: SocketAddr, kept: Rc<K>) {
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, "upstream connection ended: {error}");
        }
        drop(kept);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_authority_is_stripped() {
        for (authority, host) in
            [("a.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("1.2.3.4:5", "1.2.3.4")]
        {
            assert_eq!(strip_port(authority), host);
        }
    }
}
