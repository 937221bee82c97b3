//! One request, one connection.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::registration::ClientError;
use crate::files;

/// Answers say little.
const LARGEST: usize = 256 * 1024;
/// For everything from the name to the last byte.
const SLOWEST: Duration = Duration::from_secs(10);
const FILE: u64 = 1024 * 1024;

/// Where a registry is.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    host: String,
    authority: HeaderValue,
    port: u16,
    tls: bool,
}

/// How a registry is proven, and who we are for it. Files are read anew for each request, so that they may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities (PEM) that its certificate must come from. Default: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM).
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
}

/// The token in a file, of which white space around it is no part.
///
/// # Errors
/// [`ClientError::Token`].
pub async fn token(path: &Path) -> Result<HeaderValue, ClientError> {
    let failed = |error: &dyn std::fmt::Display| ClientError::Token(format!("{}: {error}", path.display()));
    let text = files::read(path, FILE).await.map_err(|error| failed(&error))?;
    if text.trim().is_empty() {
        return Err(failed(&"is empty"));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
        .map_err(|_| failed(&"has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Origin {
    /// `http://HOST[:PORT]` or `https://...`, without a path of its own.
    pub(super) fn read(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("is no URL: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("must begin with http:// or https://".to_owned()),
        };
        let authority = uri.authority().ok_or("has no host")?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("must have no path: which one it is follows from the service".to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("must have no user: the token is in token_file".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match authority.port() {
            Some(port) => Some(port.as_u16()).filter(|port| *port > 0).ok_or("must have a port of 1 to 65535")?,
            None if tls => 443,
            None => 80,
        };
        let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| "is no URL")?;
        Ok(Self { host, authority, port, tls })
    }

    /// Sends a request, and reads all of the answer. Nothing of it outlives the future.
    pub(super) async fn send(
        &self,
        tls: &TlsFiles,
        method: Method,
        path: &str,
        token: Option<HeaderValue>,
        body: Option<String>,
    ) -> Result<Answer, ClientError> {
        let sent = self.exchange(tls, method, path, token, body);
        tokio::time::timeout(SLOWEST, sent).await.map_err(|_| ClientError::Timeout)?
    }

    async fn exchange(
        &self,
        tls: &TlsFiles,
        method: Method,
        path: &str,
        token: Option<HeaderValue>,
        body: Option<String>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.authority.clone());
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())));
        let request = request.map_err(|error| ClientError::Exchange(error.to_string()))?;

        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(ClientError::Connect)?;
        // A request is one write, and nobody sends more behind it.
        let _ = stream.set_nodelay(true);
        if !self.tls {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(self.host.clone()).map_err(|error| ClientError::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(tls.config().await?));
        let stream = connector.connect(name, stream).await.map_err(|error| ClientError::Tls(error.to_string()))?;
        exchange(stream, request).await
    }
}

async fn exchange<I>(stream: I, request: Request<Full<Bytes>>) -> Result<Answer, ClientError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| ClientError::Exchange(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| ClientError::Exchange(error.to_string()))?.to_bytes();
        Ok(Answer { status, body })
    };
    // Driven here, so that it ends with the request.
    tokio::pin!(asked, connection);
    tokio::select! {
        answer = &mut asked => answer,
        _ = &mut connection => asked.await,
    }
}

impl TlsFiles {
    /// Read with every handshake: certificates change.
    ///
    /// # Errors
    /// [`ClientError::Tls`]: what cannot be read, or is none.
    pub async fn config(&self) -> Result<ClientConfig, ClientError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path).await? {
                    roots.add(certificate).map_err(|error| unusable(path, error))?;
                }
            }
            None => {
                let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
                let loaded = loaded.map_err(|error| ClientError::Tls(error.to_string()))?;
                roots.add_parsable_certificates(loaded.certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Tls(error.to_string()))?
            .with_root_certificates(roots);
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate).await?;
                let pem = files::read(key, FILE).await.map_err(|error| unusable(key, error))?;
                let private = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| unusable(key, error))?;
                builder.with_client_auth_cert(chain, private).map_err(|error| unusable(certificate, error))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let pem = files::read(path, FILE).await.map_err(|error| unusable(path, error))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    read.map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> ClientError {
    ClientError::Tls(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read() {
        for (url, host, port, tls) in [
            ("http://127.0.0.1:8900", "127.0.0.1", 8900, false),
            ("https://registry.internal/", "registry.internal", 443, true),
            ("http://[fd00::1]", "fd00::1", 80, false),
        ] {
            let origin = Origin::read(url).unwrap();
            assert_eq!((origin.host.as_str(), origin.port, origin.tls), (host, port, tls), "{url}");
        }
        for url in
            ["", "registry:8900", "ftp://a", "http://", "http://a/v1", "http://a/?b", "http://u:p@a", "http://a:0"]
        {
            assert!(Origin::read(url).is_err(), "{url}");
        }
    }
}
