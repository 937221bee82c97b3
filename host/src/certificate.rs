//! Certificates of a connection, read when somebody asks: their subjects, alternative names and digests (Envoy's `connection.*_certificate`).

use std::{cell::OnceCell, fmt, sync::Arc};

use rustls::{pki_types::CertificateDer, sign::CertifiedKey};
use sha2::{Digest, Sha256};
use x509_parser::{extensions::GeneralName, objects, x509::X509Name};

use crate::config::resolved::Certificates;

/// What we present in a handshake.
#[derive(Debug)]
pub enum Presents {
    /// Nothing.
    Nothing,
    /// Always this.
    Key(Arc<CertifiedKey>),
    /// What fits the name that the client asks for.
    ByName(Arc<Certificates>),
}

/// What a connection's TLS has come to.
#[derive(Debug)]
pub struct Tls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// Server name that the client asked for; of connections to upstreams, nothing.
    pub server_name: Option<String>,
    /// What the other side has presented, verified. Clients need not present any.
    pub peer: Option<Certificate>,
    presents: Presents,
    /// Chosen once more when somebody asks: the library does not say what it was.
    own: OnceCell<Option<Certificate>>,
}

impl Tls {
    /// What a handshake has come to.
    #[must_use]
    pub fn of(session: &rustls::CommonState, server_name: Option<&str>, presents: Presents) -> Self {
        let peer = session.peer_certificates().and_then(|chain| chain.first());
        Self {
            version: match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            server_name: server_name.map(str::to_owned),
            peer: peer.map(|peer| Certificate::new(Source::Peer(peer.clone().into_owned()))),
            presents,
            own: OnceCell::new(),
        }
    }

    /// What we have presented.
    #[must_use]
    pub fn own(&self) -> Option<&Certificate> {
        let own = self.own.get_or_init(|| {
            let key = match &self.presents {
                Presents::Nothing => None,
                Presents::Key(key) => Some(Arc::clone(key)),
                Presents::ByName(certificates) => certificates.certificate_for(self.server_name.as_deref()),
            };
            key.map(|key| Certificate::new(Source::Own(key)))
        });
        own.as_ref()
    }
}

/// A certificate.
pub struct Certificate {
    source: Source,
    facts: OnceCell<Facts>,
}

enum Source {
    Peer(CertificateDer<'static>),
    Own(Arc<CertifiedKey>),
}

#[derive(Debug, Default)]
struct Facts {
    subject: String,
    dns: Option<String>,
    uri: Option<String>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl Certificate {
    fn new(source: Source) -> Self {
        Self { source, facts: OnceCell::new() }
    }

    fn der(&self) -> &[u8] {
        match &self.source {
            Source::Peer(der) => der,
            Source::Own(own) => own.cert.first().map_or(&[], |der| der),
        }
    }

    /// The subject as RFC 2253 writes it, most specific first: `CN=a,O=b`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.facts().subject
    }

    /// The first DNS name among its alternative names.
    #[must_use]
    pub fn dns_san(&self) -> Option<&str> {
        self.facts().dns.as_deref()
    }

    /// The first URI among its alternative names.
    #[must_use]
    pub fn uri_san(&self) -> Option<&str> {
        self.facts().uri.as_deref()
    }

    /// SHA-256 of the certificate, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        Sha256::digest(self.der()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn facts(&self) -> &Facts {
        // What the TLS library has accepted and this one cannot read has no names.
        self.facts.get_or_init(|| Facts::read(self.der()).unwrap_or_default())
    }
}

impl Facts {
    fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let mut facts = Self { subject: subject(certificate.subject()), ..Self::default() };
        if let Ok(Some(names)) = certificate.subject_alternative_name() {
            for name in &names.value.general_names {
                let (place, name) = match name {
                    GeneralName::DNSName(name) => (&mut facts.dns, *name),
                    GeneralName::URI(name) => (&mut facts.uri, *name),
                    _ => continue,
                };
                place.get_or_insert_with(|| name.to_owned());
            }
        }
        Some(facts)
    }
}

/// Whose a certificate is, and when it expires, in seconds since 1970; 0: before that.
#[must_use]
pub fn expiry(der: &[u8]) -> Option<(String, u64)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let expires = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Some((subject(certificate.subject()), expires))
}

fn subject(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|part| {
            let attributes: Vec<_> = part
                .iter()
                .map(|attribute| {
                    let oid = attribute.attr_type();
                    let kind = objects::oid2abbrev(oid, objects::oid_registry())
                        .map_or_else(|_| oid.to_id_string(), str::to_owned);
                    format!("{kind}={}", escaped(attribute.as_str().unwrap_or_default()))
                })
                .collect();
            attributes.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// RFC 2253, section 2.4.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (index, letter) in value.chars().enumerate() {
        let special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (index == 0 && matches!(letter, ' ' | '#'))
            || (index == last && letter == ' ');
        if special {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Certificate::new(Source::Peer(der))
    }

    #[test]
    fn names_are_read_the_first_of_each_kind() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned(), "b.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://x/y".try_into().unwrap()));
        params.distinguished_name.push(DnType::OrganizationName, "Some, Company");
        params.distinguished_name.push(DnType::CommonName, "name");
        let read = certificate(params);
        assert_eq!((read.dns_san(), read.uri_san()), (Some("a.example"), Some("spiffe://x/y")));
        assert!(
            ["CN=name,O=Some\\, Company", "O=Some\\, Company,CN=name"].contains(&read.subject()),
            "{}",
            read.subject()
        );
        assert_eq!(read.digest().len(), 64);
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        for bytes in [&b""[..], b"\x30\x03\x02\x01\x05", b"hello"] {
            let read = Certificate::new(Source::Peer(bytes.to_vec().into()));
            assert_eq!((read.subject(), read.dns_san(), read.uri_san()), ("", None, None));
        }
    }

    #[test]
    fn special_characters_are_escaped() {
        for (value, written) in [("a", "a"), (" a ", "\\ a\\ "), ("#a+b", "\\#a\\+b"), (" ", "\\ "), ("", "")] {
            assert_eq!(escaped(value), written);
        }
    }
}
