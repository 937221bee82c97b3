//! TLS of the registry: files that are read again when they change.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::{error::ServeError, files, settings::TlsSettings};

/// Largest file of certificates or a key.
const LARGEST: u64 = 1024 * 1024;

/// What connections are accepted with.
#[derive(Debug)]
pub(super) struct Tls {
    settings: TlsSettings,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    files: Files,
    config: Arc<ServerConfig>,
}

/// As they were read.
#[derive(PartialEq)]
struct Files {
    certificate: String,
    key: String,
    client_ca: Option<String>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) async fn open(settings: &TlsSettings) -> Result<Self, ServeError> {
        let files = Files::read(settings).await?;
        let config = files.config(settings)?;
        Ok(Self { settings: settings.clone(), current: ArcSwap::from_pointee(Current { files, config }) })
    }

    /// Reads the files again, and uses them if they are others.
    pub(super) async fn refresh(&self) -> Result<(), ServeError> {
        let files = Files::read(&self.settings).await?;
        if files == self.current.load().files {
            return Ok(());
        }
        let config = files.config(&self.settings)?;
        tracing::info!(certificate = %self.settings.certificate.display(), "certificates were read again");
        self.current.store(Arc::new(Current { files, config }));
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }
}

impl Files {
    async fn read(settings: &TlsSettings) -> Result<Self, ServeError> {
        let client_ca = match &settings.client_ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        Ok(Self { certificate: read(&settings.certificate).await?, key: read(&settings.key).await?, client_ca })
    }

    fn config(&self, settings: &TlsSettings) -> Result<Arc<ServerConfig>, ServeError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ServeError::file(&settings.certificate, error))?;
        let builder = match (&settings.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => builder.with_client_cert_verifier(verifier(path, pem, &provider)?),
            _ => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| ServeError::file(&settings.key, format!("has no key: {error}")))?;
        let chain = certificates(&settings.certificate, &self.certificate)?;
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| ServeError::file(&settings.certificate, format!("does not go with the key: {error}")))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

async fn read(path: &Path) -> Result<String, ServeError> {
    files::read(path, LARGEST).await.map_err(|error| ServeError::file(path, error))
}

fn certificates(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = read.map_err(|error| ServeError::file(path, format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(ServeError::file(path, "has no certificate"));
    }
    Ok(certificates)
}

/// Clients need not have a certificate: one with a token is as good.
fn verifier(
    path: &Path,
    pem: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ServeError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|error| ServeError::file(path, error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| ServeError::file(path, error))
}
