//! What is known of a downstream connection, for the streams on it.

use std::{cell::OnceCell, net::SocketAddr, rc::Rc, sync::Arc};

use super::{alarm::Alarm, under_way::Answers};
use crate::{certificate::Tls, transport::End};

/// What is known of the connection that a stream came in on.
pub struct Connection {
    /// Unique within the process.
    pub id: u64,
    /// The client's address: as the PROXY protocol says, where it does.
    pub remote: Peer,
    /// The address that it connected to: as the PROXY protocol says, where it does.
    pub local: Peer,
    /// Name of the listener.
    pub listener: Rc<str>,
    /// What the configuration says of the listener.
    pub listener_metadata: Arc<serde_json::Map<String, serde_json::Value>>,
    /// Set on TLS connections.
    pub tls: Option<Tls>,
    /// A timer for one stream after the other.
    pub alarm: Alarm,
    /// Answers under way on it.
    pub answers: Answers,
    /// Lives as long as anything of the connection does, a tunnel too: its place among those that may be open.
    pub place: Box<dyn std::any::Any>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// An address, and its text once somebody has asked for it: filters ask on every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address.
    pub end: End,
    text: OnceCell<Box<str>>,
}

impl Connection {
    /// Who the client is and where it connected to, where both have addresses.
    #[must_use]
    pub fn client(&self) -> Option<(SocketAddr, SocketAddr)> {
        match (&self.remote.end, &self.local.end) {
            (End::Ip(remote), End::Ip(local)) => Some((*remote, *local)),
            _ => None,
        }
    }
}

impl From<End> for Peer {
    fn from(end: End) -> Self {
        Self { end, text: OnceCell::new() }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        End::Ip(address).into()
    }
}

impl Peer {
    /// `10.0.0.1:80`, `[::1]:80`; of a socket in the file system its path, or nothing.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| self.end.to_string().into())
    }
}
