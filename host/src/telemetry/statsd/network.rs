//! What an exporter gets from outside: names, sockets, randomness. Time comes from the runtime.

use std::{
    fmt,
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
};

use tokio::net::{UdpSocket, UnixDatagram, lookup_host};

/// What is not there yet.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// What an exporter gets from outside.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Looks up names and opens sockets.
    pub network: Arc<dyn Network>,
    /// Uniform over all of `u32`, for the time of the first flush.
    pub random: fn() -> u32,
}

/// Where a datagram goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// UDP.
    Udp(SocketAddr),
    /// A datagram socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Looks up names and opens sockets.
pub trait Network: fmt::Debug + Send + Sync {
    /// Addresses of a name, the best first. One lookup at a time is asked for.
    fn lookup(&self, host: &str, port: u16) -> Later<'static, Vec<SocketAddr>>;
    /// A socket that sends there and nowhere else. Must not wait for the other side.
    ///
    /// # Errors
    /// Why there is none.
    fn open(&self, address: &Address) -> io::Result<Box<dyn Socket>>;
}

/// A connected datagram socket.
pub trait Socket: fmt::Debug + Send + Sync {
    /// Sends one datagram when the socket has room for it. Cancel safe: dropped before its end, nothing was sent.
    fn send<'a>(&'a self, datagram: &'a [u8]) -> Later<'a, usize>;
    /// What the network said of an earlier datagram, once.
    ///
    /// # Errors
    /// The system would not say.
    fn take_error(&self) -> io::Result<Option<io::Error>>;
}

/// The system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Network for System {
    /// `getaddrinfo` on a thread of the runtime's, which ends when the system's resolver does.
    fn lookup(&self, host: &str, port: u16) -> Later<'static, Vec<SocketAddr>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }

    fn open(&self, address: &Address) -> io::Result<Box<dyn Socket>> {
        match address {
            Address::Udp(address) => {
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = std::net::UdpSocket::bind(any)?;
                // Connected, so that the system tells when nobody listens there (ICMP port unreachable).
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Ok(Box::new(UdpSocket::from_std(socket)?))
            }
            Address::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Box::new(socket))
            }
        }
    }
}

impl Socket for UdpSocket {
    fn send<'a>(&'a self, datagram: &'a [u8]) -> Later<'a, usize> {
        Box::pin(self.send(datagram))
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }
}

impl Socket for UnixDatagram {
    fn send<'a>(&'a self, datagram: &'a [u8]) -> Later<'a, usize> {
        Box::pin(self.send(datagram))
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_arrive_over_udp_and_over_a_unix_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (udp, unix) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UnixDatagram::bind(&path).unwrap());
        let mut buffer = [0; 16];
        let socket = System.open(&Address::Udp(udp.local_addr().unwrap())).unwrap();
        assert_eq!(socket.send(b"a:1|c").await.unwrap(), 5);
        assert_eq!(udp.recv(&mut buffer).await.unwrap(), 5);
        let socket = System.open(&Address::Unix(path)).unwrap();
        assert_eq!(socket.send(b"a:1|c").await.unwrap(), 5);
        assert_eq!(unix.recv(&mut buffer).await.unwrap(), 5);
        assert_eq!(&buffer[..5], b"a:1|c");
    }

    #[tokio::test]
    async fn addresses_are_looked_up_as_they_are() {
        assert_eq!(System.lookup("127.0.0.1", 7).await.unwrap(), ["127.0.0.1:7".parse().unwrap()]);
    }

    #[tokio::test]
    async fn nobody_listening_is_told_by_the_system() {
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let socket = System.open(&Address::Udp(closed)).unwrap();
        socket.send(b"a:1|c").await.unwrap();
        assert_eq!(socket.take_error().unwrap().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
        assert!(socket.take_error().unwrap().is_none());
        let missing = System.open(&Address::Unix("/there/is/no/such/socket".into()));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
