//! `tls:` of listeners and clusters: files to rustls, with everything that could fail in a handshake for reasons
//! of configuration found now.

use std::{fs, sync::Arc};

use rustls::{
    ClientConfig, InconsistentKeys, RootCertStore, ServerConfig,
    client::WebPkiServerVerifier,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use super::{Resolver, certificates::Certificates, names::Names, place::Place};
use crate::config::{
    fingerprint::Fingerprint,
    plain, raw,
    resolved::{ClusterProtocol, ClusterTls, ListenerProtocol, ListenerTls, Sni},
};

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Resolver<'_, '_> {
    pub(super) fn listener_tls(
        &mut self,
        raw: &raw::ListenerTls,
        protocol: ListenerProtocol,
        place: &Place<'_>,
    ) -> Option<ListenerTls> {
        let list = place.key("certificates");
        let certificates: Vec<_> = raw
            .certificates
            .iter()
            .enumerate()
            .map(|(index, pair)| self.certified_key(&pair.certificate, &pair.key, &list.index(index)).map(Arc::new))
            .collect();
        let client_roots = raw.client_ca.as_ref().map(|path| self.roots(path, &place.key("client_ca")));
        let certificates = certificates.into_iter().collect::<Option<Vec<_>>>()?;

        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = self.accepted(builder, place)?;
        let builder = match client_roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots?, provider()).build();
                builder.with_client_cert_verifier(self.accepted(verifier, &place.key("client_ca"))?)
            }
        };
        let certificates = Arc::new(Certificates::new(certificates));
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        if protocol == ListenerProtocol::Http {
            config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        }
        // Without a ticketer sessions are kept in memory only; with it a resumption costs no memory.
        if let Ok(ticketer) = ring::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Some(ListenerTls { config: Arc::new(config), certificates })
    }

    pub(super) fn cluster_tls(
        &mut self,
        raw: &raw::ClusterTls,
        protocol: ClusterProtocol,
        place: &Place<'_>,
    ) -> Option<ClusterTls> {
        let roots = match &raw.ca {
            Some(path) => self.roots(path, &place.key("ca")),
            None => self.system_roots(place),
        };
        let identity = match (&raw.certificate, &raw.key) {
            (Some(certificate), Some(key)) => Some(self.certified_key(certificate, key, place)),
            (None, None) => None,
            (certificate, _) => {
                let (there, missing) =
                    if certificate.is_some() { ("certificate", "key") } else { ("key", "certificate") };
                let there_place = place.key(there);
                if !self.removed.contains(&place.key(missing).path) {
                    let message = format!("{there:?} needs {missing:?} beside it");
                    self.diagnostics.error(there_place.span, &there_place.path, message);
                }
                return None;
            }
        };
        let sni = self.sni(raw.sni.as_deref().unwrap_or("auto"), &place.key("sni"));

        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = self.accepted(builder, place)?;
        let crls = match &raw.crl {
            Some(path) => self.revoked(path, &place.key("crl"))?,
            None => Vec::new(),
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots?, provider()).with_crls(crls);
        // A list is for its own issuer; what other issuers have revoked is not known.
        let verifier = verifier.allow_unknown_revocation_status().build();
        let verifier = self.accepted(verifier, place)?;
        let builder = if raw.subject_alternative_names.is_empty() {
            builder.with_webpki_verifier(verifier)
        } else {
            let Some(names) = Names::new(verifier, &raw.subject_alternative_names) else {
                let place = place.key("subject_alternative_names");
                let message = "a name has at most one \"*\", in front or at the end, and more than that";
                self.diagnostics.error(place.span, &place.path, message);
                return None;
            };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(names))
        };
        let identity = match identity {
            None => None,
            Some(identity) => Some(Arc::new(identity?)),
        };
        let mut config = match &identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let resolver = rustls::sign::SingleCertAndKey::from(Arc::clone(identity));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        config.alpn_protocols = match protocol {
            ClusterProtocol::Http1 => vec![HTTP1.to_vec()],
            ClusterProtocol::Http2 => vec![HTTP2.to_vec()],
            ClusterProtocol::Auto => vec![HTTP2.to_vec(), HTTP1.to_vec()],
            ClusterProtocol::Tcp => Vec::new(),
        };
        Some(ClusterTls { config: Arc::new(config), sni: sni?, identity })
    }

    fn revoked(&mut self, path: &str, place: &Place<'_>) -> Option<Vec<CertificateRevocationListDer<'static>>> {
        let pem = self.pem(path, place)?;
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
        match lists {
            Ok(lists) if !lists.is_empty() => Some(lists),
            Ok(_) | Err(_) => {
                let message = format!("there is no list of revoked certificates in {}", place.shown());
                let help = "expected PEM: `-----BEGIN X509 CRL-----`";
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
                None
            }
        }
    }

    fn sni(&mut self, text: &str, place: &Place<'_>) -> Option<Sni> {
        if text == "auto" {
            return Some(Sni::Auto);
        }
        match ServerName::try_from(text.to_owned()) {
            Ok(name) => Some(Sni::Name(name)),
            Err(_) => {
                let message = format!("{} is not the name of a server", place.shown());
                self.diagnostics.error_with_help(place.span, &place.path, message, "expected a host name, or auto");
                None
            }
        }
    }

    fn certified_key(&mut self, certificate: &str, key: &str, place: &Place<'_>) -> Option<CertifiedKey> {
        let chain = self.certificates(certificate, &place.key("certificate"));
        let key = self.private_key(key, &place.key("key"));
        let (chain, key) = (chain?, key?);
        let problem = match chain.first().map(ParsedCertificate::try_from) {
            Some(Ok(_)) => match CertifiedKey::from_der(chain, key, &provider()) {
                Ok(certified) => return Some(certified),
                Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                    (place.key("key"), "this key does not belong to the certificate".to_owned())
                }
                Err(error) => (place.key("key"), format!("cannot use this key: {}", reason(&error))),
            },
            Some(Err(error)) => (place.key("certificate"), format!("cannot use this certificate: {}", reason(&error))),
            None => (place.key("certificate"), "no certificate".to_owned()),
        };
        let (place, message) = problem;
        self.diagnostics.error(place.span, &place.path, message);
        None
    }

    fn certificates(&mut self, path: &str, place: &Place<'_>) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.pem(path, place)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => return Some(certificates),
            Ok(_) => {
                let message = format!("there is no certificate in {}", place.shown());
                let help = "expected PEM: `-----BEGIN CERTIFICATE-----`";
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
            }
            Err(error) => {
                self.diagnostics.error(place.span, &place.path, format!("{} is not PEM: {error}", place.shown()));
            }
        }
        None
    }

    fn private_key(&mut self, path: &str, place: &Place<'_>) -> Option<PrivateKeyDer<'static>> {
        let pem = self.pem(path, place)?;
        match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(key) => Some(key),
            Err(_) => {
                let message = format!("there is no private key in {}", place.shown());
                let help = "expected PEM without a passphrase: `-----BEGIN PRIVATE KEY-----`";
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
                None
            }
        }
    }

    fn roots(&mut self, path: &str, place: &Place<'_>) -> Option<Arc<RootCertStore>> {
        let certificates = self.certificates(path, place)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            if let Err(error) = roots.add(certificate) {
                let message = format!("cannot use the certificates in {}: {}", place.shown(), reason(&error));
                self.diagnostics.error(place.span, &place.path, message);
                return None;
            }
        }
        Some(Arc::new(roots))
    }

    fn system_roots(&mut self, place: &Place<'_>) -> Option<Arc<RootCertStore>> {
        if let Some(roots) = &self.system_roots {
            return Some(Arc::clone(roots));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let message = "this system has no certificate authorities to verify with";
            self.diagnostics.error_with_help(place.span, &place.path, message, "name a file with them: `ca: ca.pem`");
            return None;
        }
        let roots = Arc::new(roots);
        self.system_roots = Some(Arc::clone(&roots));
        Some(roots)
    }

    fn pem(&mut self, path: &str, place: &Place<'_>) -> Option<Vec<u8>> {
        let file = self.file(place, path);
        match fs::read(&file) {
            Ok(bytes) => {
                self.contents.push(Fingerprint::of([&*bytes]));
                self.files.push(file);
                Some(bytes)
            }
            Err(error) => {
                let message = format!("cannot read {}: {}", place.shown(), plain(&error));
                let problem = self.diagnostics.problem(place.span, &place.path, message);
                let absolute = std::path::absolute(&file).unwrap_or(file);
                self.diagnostics.push(match place.is_secret() {
                    true => problem,
                    false => problem.help(format!("looked for {}", absolute.display())),
                });
                None
            }
        }
    }

    /// Reports an error of the TLS library.
    fn accepted<T, E: std::fmt::Display>(&mut self, result: Result<T, E>, place: &Place<'_>) -> Option<T> {
        result.map_err(|error| self.diagnostics.error(place.span, &place.path, error.to_string())).ok()
    }
}

/// What the TLS library says of a certificate, without calling it a peer's.
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => error.to_string(),
        error => error.to_string(),
    }
}
