//! What happens to a connection before anybody understands its bytes: PROXY protocol, the choice of its chain, TLS.

use std::{ffi::OsStr, io, net::IpAddr, os::unix::ffi::OsStrExt as _, path::PathBuf, rc::Rc, sync::Arc};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::{
    chain,
    drain::Drain,
    hello::{self, Hello},
    serving::{Chosen, Serving, Taken},
};
use crate::{
    certificate::{Presents, Tls},
    config::resolved::{Address, ListenerTls, OriginalDestination, ProxyProtocol},
    http::runtime::{ListenerMetrics, ListenerRuntime},
    proxy_protocol::{self, Endpoints, Limits, Mode},
    transport::{End, Socket, Transport, Wire},
};

/// A connection that can be served.
pub struct Arrived {
    /// Its bytes.
    pub transport: Transport,
    /// What TLS has come to, if there is any.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 was agreed on; `None`: nothing was.
    pub http2: Option<bool>,
    /// The chain that it takes.
    pub taken: Taken,
    /// The same, in the generation that it has arrived in.
    pub runtime: Rc<ListenerRuntime>,
    /// Who has connected.
    pub remote: End,
    /// What to.
    pub local: End,
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Its PROXY protocol header.
    #[error("{0}")]
    ProxyProtocol(#[from] proxy_protocol::Error),
    /// A header is required, and whose is believed is written.
    #[error("its PROXY protocol header would not be believed (`proxy_protocol_from`)")]
    Stranger,
    /// The header did not come in time.
    #[error("no PROXY protocol header came in time")]
    SlowHeader,
    /// No chain is for it.
    #[error("no chain matches, and the listener has no filters of its own")]
    NoChain,
    /// It did not come to a handshake.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// The handshake took too long.
    #[error("TLS took too long")]
    SlowTls,
    /// It says nothing, and something has to be known.
    #[error("it says nothing")]
    Silent,
    /// The listener drains, and nothing has come.
    #[error("the listener drains")]
    Drains,
}

impl Refused {
    /// Counts it.
    pub fn count(&self, metrics: &ListenerMetrics) {
        match self {
            Self::ProxyProtocol(_) | Self::Stranger | Self::SlowHeader => metrics.refused_proxy_protocol.inc(),
            Self::NoChain => metrics.refused_no_chain.inc(),
            Self::Tls(_) | Self::SlowTls => metrics.refused_tls.inc(),
            Self::Silent => metrics.header_timeouts.inc(),
            Self::Drains => {}
        }
    }
}

/// Takes a connection in, until a moment.
///
/// # Errors
/// [`Refused`]: it is to be closed.
pub async fn arrive(
    serving: &Serving,
    socket: Socket,
    peer: End,
    drain: &Drain,
    until: Instant,
) -> Result<Arrived, Refused> {
    let local = local(serving, &socket).map_err(proxy_protocol::Error::Read)?;
    let mut wire = Wire::from(socket);
    // Nothing of this takes long once the client has spoken, and whoever has not is not waited for when the listener drains.
    let (remote, local, hello) = tokio::select! {
        biased;
        begun = begin(serving, &mut wire, peer, local, until) => begun?,
        () = drain.begun_in_silence() => return Err(Refused::Drains),
    };
    let names: Vec<&[u8]> = hello.alpn.iter().map(Vec::as_slice).collect();
    let known = chain::Connection {
        source: remote.ip(),
        destination: local.ip(),
        transport: hello.transport,
        sni: hello.sni.as_deref(),
        alpn: &names,
        application: None,
    };
    let Chosen { taken, tls, runtime } = serving.choose(&known).ok_or(Refused::NoChain)?;
    let arrived = |transport, tls, http2| Arrived { transport, tls, http2, taken, runtime, remote, local };
    let Some(settings) = tls else { return Ok(arrived(Transport::Plain(wire), None, None)) };
    let stream = timeout_at(until, encrypted(settings, wire)).await.map_err(|_| Refused::SlowTls)?;
    let stream = stream.map_err(Refused::Tls)?;
    let session = stream.get_ref().1;
    let tls = Tls::of(session, session.server_name(), Presents::ByName(Arc::clone(&settings.certificates)));
    let http2 = session.alpn_protocol().map(|protocol| protocol == b"h2");
    Ok(arrived(Transport::Tls(Box::new(stream.into())), Some(tls), http2))
}

async fn encrypted(settings: &ListenerTls, wire: Wire) -> io::Result<tokio_rustls::server::TlsStream<Wire>> {
    TlsAcceptor::from(Arc::clone(&settings.config)).accept(wire).await
}

/// Reads what has to be known before a chain can be chosen.
async fn begin(
    serving: &Serving,
    wire: &mut Wire,
    peer: End,
    bound: End,
    until: Instant,
) -> Result<(End, End, Hello), Refused> {
    let is_believed = believes(serving, &peer);
    let (mut remote, mut local) = (peer, bound);
    let mode = match (serving.settings.proxy_protocol, is_believed) {
        (ProxyProtocol::Off, _) | (ProxyProtocol::Accept, false) => None,
        (ProxyProtocol::Accept, true) => Some(Mode::Accept),
        (ProxyProtocol::Require, true) => Some(Mode::Require),
        (ProxyProtocol::Require, false) => return Err(Refused::Stranger),
    };
    if let Some(mode) = mode {
        let read = timeout_at(until, proxy_protocol::accept(wire, mode, Limits::default())).await;
        let (header, rest) = read.map_err(|_| Refused::SlowHeader)??;
        wire.put_back(rest);
        if let Some(header) = header {
            let listener = serving.settings.name.as_str();
            tracing::debug!(listener, peer = %remote, version = ?header.version, endpoints = ?header.endpoints, "PROXY protocol");
            match header.endpoints {
                Endpoints::Local | Endpoints::Unknown => {}
                Endpoints::Internet { source, destination } => (remote, local) = (source.into(), destination.into()),
                Endpoints::Unix { source, destination } => (remote, local) = (file(&source), file(&destination)),
            }
        }
    }
    let hello = if serving.needs_bytes() {
        let seen = timeout_at(until, hello::look(wire)).await.map_err(|_| Refused::Silent)?;
        seen.map_err(Refused::Tls)?
    } else {
        Hello { transport: chain::Transport::Plain, sni: None, alpn: Vec::new() }
    };
    Ok((remote, local, hello))
}

/// Whether a header of this peer is believed. Who may use a socket in the file system is a matter of its permissions.
fn believes(serving: &Serving, peer: &End) -> bool {
    let trusted = &serving.settings.proxy_protocol_from;
    let known = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    trusted.is_empty() || peer.ip().is_none_or(|address| known(address.ip().to_canonical()))
}

/// A socket in the file system, as a header names it.
fn file(name: &Bytes) -> End {
    // Names that begin with a zero are none of the file system's.
    let is_path = name.first().is_some_and(|first| *first != 0);
    End::Unix(is_path.then(|| PathBuf::from(OsStr::from_bytes(name))))
}

/// What a client has connected to, as far as this machine knows.
fn local(serving: &Serving, socket: &Socket) -> io::Result<End> {
    match socket {
        Socket::Tcp(stream) => {
            let original = match serving.settings.original_destination {
                OriginalDestination::Ignore => None,
                OriginalDestination::Use => original_destination(stream),
            };
            Ok(original.map_or_else(|| stream.local_addr(), Ok)?.into())
        }
        // It was bound under another name.
        Socket::Unix(_) => Ok(match &serving.settings.address {
            Address::Unix(path) => End::Unix(Some(path.clone())),
            Address::Tcp(address) => End::Ip(*address),
        }),
    }
}

#[cfg(target_os = "linux")]
fn original_destination(stream: &tokio::net::TcpStream) -> Option<std::net::SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let is_v4 = stream.local_addr().is_ok_and(|address| address.ip().to_canonical().is_ipv4());
    // Netfilter keeps IPv4 connections apart, also those of a socket for both families.
    let original = if is_v4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
    original.ok()?.as_socket()
}

#[cfg(not(target_os = "linux"))]
fn original_destination(_: &tokio::net::TcpStream) -> Option<std::net::SocketAddr> {
    None
}
