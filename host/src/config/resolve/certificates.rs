//! The certificates of a listener.

use std::sync::Arc;

use rustls::{
    client::verify_server_name,
    pki_types::ServerName,
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Chooses a certificate by the name that the client asks for: the first that is valid for it, preferring one whose
/// key the client can verify; without a name, or when none is valid for it, the first of all.
///
/// Names are compared by the library that verifies them on the other side (wildcards included), certificate by
/// certificate. That is microseconds beside a handshake for the dozens of certificates that a file holds.
#[derive(Debug)]
pub struct Certificates {
    certificates: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    pub(super) fn new(certificates: Vec<Arc<CertifiedKey>>) -> Self {
        Self { certificates }
    }

    /// What a client that asked for this name has been presented, as far as that does not depend on what else it has offered.
    #[must_use]
    pub fn certificate_for(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        self.choose(name, |_| true)
    }

    /// All of them, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> &[Arc<CertifiedKey>] {
        &self.certificates
    }

    fn choose(&self, name: Option<&str>, usable: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let valid: Vec<_> = self
            .certificates
            .iter()
            .filter(|certified| name.as_ref().is_none_or(|name| is_valid_for(certified, name)))
            .collect();
        let candidates = if valid.is_empty() { self.certificates.iter().collect() } else { valid };
        let best = candidates.iter().find(|certified| usable(certified)).or_else(|| candidates.first());
        best.map(|certified| Arc::clone(certified))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), |certified| certified.key.choose_scheme(hello.signature_schemes()).is_some())
    }
}

fn is_valid_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = certified.end_entity_cert().ok().and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
    parsed.is_some_and(|parsed| verify_server_name(&parsed, name).is_ok())
}
