//! Which names an endpoint's certificate may have, when they are not the one that was asked for.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// One name, or all that begin or end alike.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Whole(String),
    Suffix(String),
    Prefix(String),
}

impl Pattern {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Whole(whole) => name == whole,
            Self::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            Self::Prefix(prefix) => name.len() > prefix.len() && name.starts_with(prefix.as_str()),
        }
    }
}

/// Verifies the chain as always, and the certificate's names against a list (Envoy's `match_typed_subject_alt_names`).
#[derive(Debug)]
pub(super) struct Names {
    chain: Arc<WebPkiServerVerifier>,
    patterns: Vec<Pattern>,
}

impl Names {
    /// `None`: one of the names has a `*` where there can be none.
    pub fn new(chain: Arc<WebPkiServerVerifier>, names: &[String]) -> Option<Self> {
        let pattern = |name: &String| {
            let lower = name.to_ascii_lowercase();
            let pattern = match (lower.strip_prefix('*'), lower.strip_suffix('*')) {
                (Some(rest), _) => Pattern::Suffix(rest.to_owned()),
                (None, Some(rest)) => Pattern::Prefix(rest.to_owned()),
                (None, None) => Pattern::Whole(lower.clone()),
            };
            let (Pattern::Whole(rest) | Pattern::Suffix(rest) | Pattern::Prefix(rest)) = &pattern;
            (!rest.is_empty() && !rest.contains('*')).then_some(pattern)
        };
        let patterns = names.iter().map(pattern).collect::<Option<Vec<_>>>()?;
        Some(Self { chain, patterns })
    }

    fn accept(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        names.value.general_names.iter().any(|name| {
            let name = match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                    name.to_ascii_lowercase()
                }
                GeneralName::IPAddress(bytes) => match address(bytes) {
                    Some(address) => address.to_string(),
                    None => return false,
                },
                _ => return false,
            };
            self.patterns.iter().any(|pattern| pattern.fits(&name))
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

impl ServerCertVerifier for Names {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is looked at last, when the chain is known to be good.
        match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        if self.accept(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;

    use super::*;

    /// A CA, and a certificate of it for some names.
    fn issued(names: &[&str], uri: Option<&str>) -> (Arc<WebPkiServerVerifier>, CertificateDer<'static>) {
        let authority = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&authority).unwrap();
        let issuer = rcgen::Issuer::new(parameters, authority);
        let mut leaf =
            rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        leaf.subject_alt_names.extend(uri.map(|uri| rcgen::SanType::URI(uri.try_into().unwrap())));
        let certificate = leaf.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        (verifier, certificate.der().clone())
    }

    fn verify(verifier: &Names, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let name = ServerName::try_from("somebody.else").unwrap();
        verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn one_of_the_names_is_enough_whatever_was_asked_for() {
        let (chain, certificate) = issued(&["a.internal", "127.0.0.1"], Some("spiffe://td/ns/web"));
        for (names, good) in [
            (vec!["b.internal", "A.internal"], true),
            (vec!["*.internal"], true),
            (vec!["127.0.0.1"], true),
            (vec!["spiffe://td/*"], true),
            (vec!["spiffe://other/*", "internal"], false),
            (vec!["*a.internal"], false),
        ] {
            let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
            let verifier = Names::new(Arc::clone(&chain), &names).unwrap();
            assert_eq!(verify(&verifier, &certificate).is_ok(), good, "{names:?}");
        }
    }

    #[test]
    fn a_name_does_not_make_up_for_a_bad_chain() {
        let (_, certificate) = issued(&["a.internal"], None);
        let (other, _) = issued(&["a.internal"], None);
        let verifier = Names::new(other, &["a.internal".to_owned()]).unwrap();
        assert!(!matches!(
            verify(&verifier, &certificate),
            Ok(()) | Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        ));
    }

    #[test]
    fn stars_elsewhere_are_refused() {
        let (chain, _) = issued(&["a.internal"], None);
        for bad in ["*", "a.*.b", "*.a.*", ""] {
            assert!(Names::new(Arc::clone(&chain), &[bad.to_owned()]).is_none(), "{bad}");
        }
    }
}
