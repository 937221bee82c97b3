//! A header, as it is understood.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::{Ssl, Tlv};

/// What a proxy tells of the connection that it forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// In which form it came.
    pub version: Version,
    /// Who is connected with whom, at the other side of the proxy.
    pub endpoints: Endpoints,
    /// Everything else, in the order in which it came. NOOP is left out, and a CRC32C that was right. Empty with
    /// version 1 and LOCAL.
    pub tlvs: Vec<Tlv>,
}

/// The form of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text (section 2.1).
    One,
    /// Binary (section 2.2).
    Two,
}

/// The two ends of the forwarded connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// The proxy speaks for itself, as with health checks (command LOCAL): the connection's own addresses hold.
    Local,
    /// Somebody else's connection, of which nothing is known, or a datagram's: the connection's own addresses hold.
    Unknown,
    /// TCP. Both are of one family when they were received, or made with [`Endpoints::internet`].
    Internet {
        /// Who connected: the client.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
    /// UNIX sockets. At most 108 bytes each, without the zeros that pad them; abstract names begin with a zero.
    Unix {
        /// Who connected: the client.
        source: Bytes,
        /// What it connected to.
        destination: Bytes,
    },
}

impl Endpoints {
    /// Two TCP addresses, brought to one family: IPv4 addresses that are written as IPv6 become IPv4 if both can, else
    /// IPv4 becomes IPv6 (`::ffff:a.b.c.d`). The protocol has room for one family only, and sockets that listen to both
    /// report a mixture.
    #[must_use]
    pub fn internet(source: SocketAddr, destination: SocketAddr) -> Self {
        let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
        let (from, to) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V6(_)) => (from.to_ipv6_mapped().into(), to),
            (IpAddr::V6(_), IpAddr::V4(to)) => (from, to.to_ipv6_mapped().into()),
            same => same,
        };
        Self::Internet {
            source: SocketAddr::new(from, source.port()),
            destination: SocketAddr::new(to, destination.port()),
        }
    }
}

impl Header {
    /// The client's address, where there is one.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        match self.endpoints {
            Endpoints::Internet { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The address that the client connected to, where there is one.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.endpoints {
            Endpoints::Internet { destination, .. } => Some(destination),
            _ => None,
        }
    }

    /// The host name that the client asked for: SNI, as a rule (`PP2_TYPE_AUTHORITY`).
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.tlvs.iter().find_map(|tlv| match tlv {
            Tlv::Authority(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The protocol that was negotiated (`PP2_TYPE_ALPN`).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tlvs.iter().find_map(|tlv| match tlv {
            Tlv::Alpn(name) => Some(name.as_ref()),
            _ => None,
        })
    }

    /// What identifies the connection across proxies (`PP2_TYPE_UNIQUE_ID`).
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.tlvs.iter().find_map(|tlv| match tlv {
            Tlv::UniqueId(id) => Some(id.as_ref()),
            _ => None,
        })
    }

    /// How the client was connected by TLS (`PP2_TYPE_SSL`).
    #[must_use]
    pub fn ssl(&self) -> Option<&Ssl> {
        self.tlvs.iter().find_map(|tlv| match tlv {
            Tlv::Ssl(ssl) => Some(ssl),
            _ => None,
        })
    }
}
