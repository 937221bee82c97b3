//! Certificates that the proxy presents or trusts.

use serde::Serialize;

use super::{Provenance, Subject, Time};

/// A certificate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certificate {
    /// Names that it is for; without any, its subject.
    pub names: Vec<String>,
    /// What it is for.
    pub usage: CertificateUse,
    /// Who uses it.
    pub used_by: Vec<Subject>,
    /// Who issued it.
    pub issuer: String,
    /// Valid from.
    pub not_before: Time,
    /// Valid until.
    pub not_after: Time,
    /// Kind of key: `ECDSA P-256`.
    pub key: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    /// Serial number in hex.
    pub serial: String,
    /// Where it was defined, when a handshake last used it.
    pub provenance: Provenance,
    /// Handshakes that used it.
    pub handshakes: Option<u64>,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateUse {
    /// Shown to clients.
    Server,
    /// Shown to upstreams.
    Client,
    /// Trusted.
    Authority,
}

impl CertificateUse {
    /// Its words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Authority => "trusted",
        }
    }
}
