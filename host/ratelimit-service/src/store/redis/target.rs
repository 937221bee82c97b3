//! Whom a connection is made to, and how.

use std::path::Path;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, RedisResult, TlsCertificates,
};

use super::link::CONNECT;
use super::sentinel::Sentinels;
use crate::error::StartError;
use crate::settings::{Address, RedisSettings};

/// Whom a connection is made to.
#[derive(Debug)]
pub(super) enum Target {
    /// A server, whatever it is.
    Server(Box<Client>),
    /// The primary that sentinels name.
    Primary(Sentinels),
}

/// How servers are spoken to whose addresses are known later.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// Of nobody; with the certificates.
    address: ConnectionAddr,
    login: RedisConnectionInfo,
}

impl Target {
    /// The server of a URL.
    pub fn server(url: &str, settings: &RedisSettings) -> Result<Self, StartError> {
        let client = match certificates(settings, url.starts_with("rediss://"))? {
            Some(certificates) => Client::build_with_tls(url, certificates),
            None => Client::open(url),
        };
        let client = client.map_err(|error| wrong(&error))?;
        let login = client.get_connection_info().redis_settings();
        if login.username().is_some() && login.password().is_none() {
            return Err(StartError::Redis(
                "the url has a user and no password, so that nobody would log in".to_owned(),
            ));
        }
        Ok(Self::Server(Box::new(client)))
    }

    /// What it is called, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Server(client) => client.get_connection_info().addr().to_string(),
            Self::Primary(sentinels) => sentinels.name().to_owned(),
        }
    }

    /// Connects. With it comes who that is, where the name does not say it.
    pub async fn connect(&self) -> RedisResult<(MultiplexedConnection, Option<Address>)> {
        match self {
            Self::Server(client) => Ok((connect(client).await?, None)),
            Self::Primary(sentinels) => {
                let (connection, address) = sentinels.connect().await?;
                Ok((connection, Some(address)))
            }
        }
    }

    /// Connects to whom the name leads by now, if that is somebody else.
    pub async fn other(&self, present: &Address) -> Option<(MultiplexedConnection, Address)> {
        match self {
            Self::Server(_) => None,
            Self::Primary(sentinels) => sentinels.other(present).await,
        }
    }
}

impl Access {
    /// To servers, or to sentinels, which have another login.
    pub fn new(settings: &RedisSettings, user: Option<&str>, password: Option<&str>) -> Result<Self, StartError> {
        let (host, port) = (String::new(), 0);
        let address = match certificates(settings, settings.tls)? {
            Some(certificates) => {
                let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
                let client = Client::build_with_tls(address, certificates).map_err(|error| wrong(&error))?;
                client.get_connection_info().addr().clone()
            }
            None if settings.tls => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        };
        let mut login = RedisConnectionInfo::default();
        if let Some(user) = user {
            login = login.set_username(user);
        }
        if let Some(password) = password {
            login = login.set_password(password);
        }
        Ok(Self { address, login })
    }

    /// The same, to another database.
    pub fn database(mut self, number: u32) -> Self {
        self.login = self.login.set_db(i64::from(number));
        self
    }

    /// To a server.
    pub fn client(&self, at: &Address) -> RedisResult<Client> {
        let mut address = self.address.clone();
        if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = &mut address {
            host.clone_from(&at.host);
            *port = at.port;
        }
        Client::open(address.into_connection_info()?.set_redis_settings(self.login.clone()))
    }
}

/// Connects to a server. Whoever asks for it has a timeout.
pub(super) async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    // Who asks something has a timeout too, and decides what it means.
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Those of the settings, if there are any.
fn certificates(settings: &RedisSettings, has_tls: bool) -> Result<Option<TlsCertificates>, StartError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| StartError::Redis(format!("{} cannot be read: {error}", path.display())))
    };
    if settings.ca.is_none() && settings.certificate.is_none() && settings.key.is_none() {
        return Ok(None);
    }
    if !has_tls {
        let belong = "ca, certificate and key belong to a url that begins with rediss://, or to tls: true";
        return Err(StartError::Redis(belong.to_owned()));
    }
    let client_tls = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
        (None, None) => None,
        _ => return Err(StartError::Redis("certificate and key belong together".to_owned())),
    };
    let root_cert = settings.ca.as_deref().map(read).transpose()?;
    Ok(Some(TlsCertificates { client_tls, root_cert }))
}

fn wrong(error: &RedisError) -> StartError {
    StartError::Redis(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_wrong_is_refused_without_saying_its_password() {
        let refused = |url: &str| Target::server(url, &RedisSettings::new(url)).map(|_| ()).unwrap_err().to_string();
        for url in ["redis://u:71077345@h:port", "http://u:71077345@h", "redis://u:71077345@h/x", "71077345@h"] {
            let message = refused(url);
            assert!(!message.contains("71077345"), "{message}");
        }
        assert!(refused("redis://user@h").contains("has a user and no password"));
    }
}
