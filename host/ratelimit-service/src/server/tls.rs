//! Certificates of a listener.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::settings::TlsSettings;

/// What connections of a listener are encrypted with; nothing where it has no TLS. Replaced while connections are accepted.
#[derive(Debug)]
pub(crate) struct Certificates(ArcSwapOption<ServerConfig>);

impl Certificates {
    /// Reads them.
    pub fn read(settings: Option<&TlsSettings>) -> Result<Self, String> {
        Ok(Self(ArcSwapOption::from(settings.map(config).transpose()?.map(Arc::new))))
    }

    /// From now on those of another.
    pub fn replace(&self, other: Self) {
        self.0.store(other.0.into_inner());
    }

    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.load_full().map(TlsAcceptor::from)
    }
}

fn config(settings: &TlsSettings) -> Result<ServerConfig, String> {
    let chain = certificates(&settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| about(&settings.key, &error))?;
    // Named, because the process may have others.
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| about(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| about(path, &error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| about(&settings.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| about(path, &error))?;
    if certificates.is_empty() {
        return Err(about(path, &"has no certificate"));
    }
    Ok(certificates)
}

fn about(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
