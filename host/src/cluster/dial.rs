//! Connections that carry bytes instead of requests: opened for one downstream connection, and closed with it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::client::TlsStream;

use super::{
    balancer, connect,
    error::ClusterError,
    local::{LocalCluster, LocalEndpoint, Open},
};

/// A connection to an endpoint.
pub struct Line {
    transport: Transport,
    /// The endpoint.
    pub address: SocketAddr,
    /// Our address towards it.
    pub local: Option<SocketAddr>,
    endpoint: Rc<LocalEndpoint>,
    _open: Open,
}

/// TCP, or TLS over it.
pub(super) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Line {
    /// Makes its end look like the accident that it is.
    pub fn cut(&self) {
        let socket = match &self.transport {
            Transport::Tcp(stream) => stream,
            Transport::Tls(stream) => stream.get_ref().0,
        };
        let _ = socket.set_zero_linger();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.endpoint.count(-1);
    }
}

/// Connects to an endpoint of the balancer's choice, and to another one for as long as there is one that was not tried. Each attempt
/// may take `connect_timeout`. `server_name` is what TLS asks for with `sni: auto`.
///
/// Cancel safe.
///
/// # Errors
/// What the last attempt met.
pub async fn dial(cluster: &Rc<LocalCluster>, server_name: Option<&str>) -> Result<Line, ClusterError> {
    let mut left = cluster.endpoints.clone();
    let mut met = None;
    loop {
        let picked = balancer::pick(cluster.shared.settings.load_balancer, &left, |n| fastrand::usize(..n)).cloned();
        let Some(endpoint) = picked else {
            return Err(met.unwrap_or_else(|| {
                cluster.metrics.no_endpoint.inc();
                ClusterError::NoEndpoint { cluster: cluster.name.to_string() }
            }));
        };
        match attempt(cluster, &endpoint, server_name).await {
            Ok(line) => return Ok(line),
            // Another endpoint would not have more room.
            Err(error @ ClusterError::PoolExhausted { .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(cluster = &*cluster.name, address = %endpoint.address, "not connected: {error}");
                left.retain(|other| !Rc::ptr_eq(other, &endpoint));
                met = Some(error);
            }
        }
    }
}

async fn attempt(
    cluster: &Rc<LocalCluster>,
    endpoint: &Rc<LocalEndpoint>,
    server_name: Option<&str>,
) -> Result<Line, ClusterError> {
    let settings = &cluster.shared.settings;
    let (started, limit) = (Instant::now(), settings.connect_timeout);
    let permit = match Arc::clone(&cluster.shared.permits).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => match timeout(limit, cluster.permit()).await {
            Ok(permit) => permit,
            Err(_) => {
                cluster.metrics.overflows.inc();
                return Err(ClusterError::PoolExhausted {
                    cluster: cluster.name.to_string(),
                    limit: settings.pool.connections,
                    waited: started.elapsed(),
                });
            }
        },
    };
    let open = Open::new(cluster, permit);
    let address = endpoint.address;
    match timeout(limit, connect::transport(settings, address, server_name)).await {
        Ok(Ok((transport, local))) => {
            endpoint.count(1);
            Ok(Line { transport, address, local, endpoint: Rc::clone(endpoint), _open: open })
        }
        Ok(Err(error)) => {
            cluster.metrics.connect_failures.inc();
            Err(error)
        }
        Err(_) => {
            cluster.metrics.connect_timeouts.inc();
            Err(ClusterError::ConnectTimeout { address, timeout: limit })
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
