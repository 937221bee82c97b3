//! Connections for what is fetched: TCP to a name's addresses, and TLS with the system's trust.

use std::{net::SocketAddr, sync::Arc};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{client::Client, error::SourceError};
use crate::{config::module::Url, trust};

/// How many of a name's addresses are tried.
const ADDRESSES: usize = 4;

impl Client {
    pub(super) async fn connect(&self, url: &Url) -> Result<TcpStream, SourceError> {
        let unreachable = |reason: String| SourceError::Unreachable { at: url.to_string(), reason };
        let lookup = tokio::net::lookup_host((url.host(), url.port()));
        let found = self.within(self.limits.connect, url, "resolving the name", lookup).await?;
        let found = found.map_err(|error| unreachable(format!("the name does not resolve: {error}")))?;
        // Plain text does not leave the machine, whatever its resolver thinks of `localhost`.
        let allowed = |address: &SocketAddr| url.is_secure() || address.ip().is_loopback();
        let mut failure = unreachable("the name has no address that may be used".to_owned());
        for address in found.filter(allowed).take(ADDRESSES) {
            match self.within(self.limits.connect, url, "connecting", TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = unreachable(format!("{address}: {error}")),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    pub(super) async fn handshake(&self, url: &Url, tcp: TcpStream) -> Result<TlsStream<TcpStream>, SourceError> {
        let untrusted = |reason: String| SourceError::Tls { at: url.to_string(), reason };
        let name = ServerName::try_from(url.host().to_owned()).map_err(|error| untrusted(error.to_string()))?;
        let connector = match self.tls.get() {
            Some(connector) => connector,
            None => {
                let connector = self.connector().map_err(untrusted)?;
                self.tls.get_or_init(|| connector)
            }
        };
        let handshake =
            self.within(self.limits.connect, url, "the TLS handshake", connector.connect(name, tcp)).await?;
        handshake.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error @ rustls::Error::InvalidCertificate(_)) => {
                untrusted(format!("{error}; if its authority is one of your own, name a file with it in SSL_CERT_FILE"))
            }
            Some(error) => untrusted(error.to_string()),
            None => SourceError::Unreachable { at: url.to_string(), reason: format!("the TLS handshake: {error}") },
        })
    }

    fn connector(&self) -> Result<TlsConnector, String> {
        match &self.roots {
            Some(roots) => trust::of(Arc::clone(roots)),
            None => trust::of_the_system(),
        }
    }
}
