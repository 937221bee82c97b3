//! TLS with the trust of the system, for what the control plane itself asks.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Verifies servers against the system's authorities, which are read now, so that they are never stale.
///
/// # Errors
/// That there are none.
pub fn of_the_system() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    of(Arc::new(roots))
}

/// The same against these authorities.
///
/// # Errors
/// That there are none.
pub fn of(roots: Arc<RootCertStore>) -> Result<TlsConnector, String> {
    if roots.is_empty() {
        return Err("this system has no certificate authorities to verify with; install ca-certificates, or name a \
                    file with some in SSL_CERT_FILE"
            .to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
