//! `discovery:` of a cluster.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use fyke_registry::client::TlsFiles;

use super::Endpoint;

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
            Place::Sentinel(_) => Duration::from_secs(1),
            Place::Dns(_) => Duration::from_secs(5),
            Place::File(_) | Place::Rest(_) | Place::Xds { .. } => Duration::from_secs(30),
        }
    }

    /// Whether it says by itself what has changed, and means it when there are no endpoints.
    #[must_use]
    pub fn is_told(&self) -> bool {
        matches!(self.place, Place::Xds { .. })
    }

    /// Whether whom it does not name is none, however healthy: there is one primary.
    #[must_use]
    pub fn decides(&self) -> bool {
        matches!(self.place, Place::Sentinel(_))
    }

    /// The word for its kind, and the place in words.
    #[must_use]
    pub fn words(&self) -> (&'static str, String) {
        match &self.place {
            Place::Dns(DnsNames { names, .. }) => match names.as_slice() {
                [name @ DnsName { port: None, .. }] => ("srv", name.to_string()),
                names => ("dns", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            },
            Place::File(path) => ("file", path.display().to_string()),
            Place::Rest(registry) => ("rest", registry.url.to_string()),
            Place::Sentinel(sentinels) => ("sentinel", sentinels.name.clone()),
            Place::Xds { plane, service } => ("xds", format!("{service} at {plane}")),
        }
    }
}

/// A source of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `dns:` and `srv:`
    Dns(DnsNames),
    /// `file:`
    File(PathBuf),
    /// `rest:`
    Rest(Registry),
    /// `sentinel:`
    Sentinel(Sentinels),
    /// `xds:`
    Xds {
        /// Name of the control plane.
        plane: String,
        /// What it calls the service.
        service: String,
    },
}

/// Names whose addresses are endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsNames {
    /// One alone if it is that of a service. None: there are addresses only.
    pub names: Vec<DnsName>,
    /// Addresses among them, which are endpoints as they are.
    pub addresses: Vec<Arc<Endpoint>>,
    /// What the addresses of a name are.
    pub mode: DnsMode,
    /// Which are asked for.
    pub family: Family,
    /// Whom to ask; empty: whom the system asks.
    pub servers: Vec<SocketAddr>,
}

/// A name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName {
    /// The name.
    pub name: String,
    /// Of its addresses; `None`: it is that of a service, and its SRV records say.
    pub port: Option<u16>,
    /// What its endpoints are like, but for their addresses, and for what SRV records say.
    pub like: Endpoint,
}

impl DnsName {
    /// What its endpoints present as their name, if SRV records do not name them.
    #[must_use]
    pub fn presented(&self) -> &str {
        self.like.hostname.as_deref().unwrap_or(&self.name)
    }
}

impl std::fmt::Display for DnsName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
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

/// Those who know which Redis is the primary.
#[derive(Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// What they call it.
    pub name: String,
    /// Where they are; at least one.
    pub servers: Vec<SocketAddr>,
    /// As whom to log in; `None`: the default user.
    pub user: Option<String>,
    /// Its password; empty: nobody logs in.
    pub password: String,
}

/// Without the password.
impl std::fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sentinels").field("name", &self.name).field("servers", &self.servers).finish_non_exhaustive()
    }
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
    /// The token that is shown.
    pub token_file: Option<PathBuf>,
    /// How it is proven, and who asks for it.
    pub tls: TlsFiles,
}
