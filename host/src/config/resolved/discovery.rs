//! `discovery:` of a cluster.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Where endpoints are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Where.
    pub place: Place,
    /// How long an answer holds; `None`: as long as it says.
    pub refresh: Option<Duration>,
}

impl Discovery {
    /// How long an answer holds that does not say so itself.
    #[must_use]
    pub fn usual(&self) -> Duration {
        match &self.place {
            Place::Dns(_) => Duration::from_secs(5),
            Place::File(_) | Place::Rest(_) | Place::Xds { .. } => Duration::from_secs(30),
        }
    }

    /// Whether it says by itself what has changed, and means it when there are no endpoints.
    #[must_use]
    pub fn is_told(&self) -> bool {
        matches!(self.place, Place::Xds { .. })
    }

    /// The word for its kind, and the place in words.
    #[must_use]
    pub fn words(&self) -> (&'static str, String) {
        match &self.place {
            Place::Dns(DnsName { name, port: Some(port), .. }) => ("dns", format!("{name}:{port}")),
            Place::Dns(DnsName { name, .. }) => ("srv", name.clone()),
            Place::File(path) => ("file", path.display().to_string()),
            Place::Rest(registry) => ("rest", registry.url.to_string()),
            Place::Xds { plane, service } => ("xds", format!("{service} at {plane}")),
        }
    }
}

/// A source of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `dns:` and `srv:`
    Dns(DnsName),
    /// `file:`
    File(PathBuf),
    /// `rest:`
    Rest(Registry),
    /// `xds:`
    Xds {
        /// Name of the control plane.
        plane: String,
        /// What it calls the service.
        service: String,
    },
}

/// A name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName {
    /// The name.
    pub name: String,
    /// Of its addresses; `None`: it is that of a service, and its SRV records say.
    pub port: Option<u16>,
    /// What the addresses are.
    pub mode: DnsMode,
    /// Which are asked for.
    pub family: Family,
    /// Whom to ask; empty: whom the system asks.
    pub servers: Vec<SocketAddr>,
}

/// `mode:`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DnsMode {
    /// Each address is an endpoint.
    #[default]
    Strict,
    /// The first one is.
    Logical,
}

/// `family:`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Family {
    /// Both.
    #[default]
    All,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// http or https, with a host.
    pub url: http::Uri,
    /// What it calls the service, where that is not in the URL.
    pub service: String,
    /// Who asks: id and cluster of `node:`.
    pub node: (String, String),
}
