//! Names in the certificate of a client.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use crate::host::ServiceName;

/// Who a client has proven to be: the alternative names of a certificate that the TLS library has verified.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    uris: Vec<String>,
    hosts: Vec<String>,
}

impl Identity {
    /// What the library accepts and this cannot read has no names.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut identity = Self::default();
        if let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate)
            && let Ok(Some(names)) = certificate.subject_alternative_name()
        {
            for name in &names.value.general_names {
                match name {
                    GeneralName::URI(uri) => identity.uris.push((*uri).to_owned()),
                    GeneralName::DNSName(host) => identity.hosts.push((*host).to_owned()),
                    _ => {}
                }
            }
        }
        identity
    }

    /// Whether there is one.
    pub(crate) fn is_some(&self) -> bool {
        !self.uris.is_empty() || !self.hosts.is_empty()
    }

    /// Whether it names a service in one of the ways that `templates` are.
    pub(crate) fn names(&self, service: &ServiceName, templates: &[String]) -> bool {
        templates.iter().any(|template| {
            let wanted = template.replace("{service}", service.as_str());
            if template.contains("://") {
                self.uris.iter().any(|uri| alike(&wanted, uri, '/', str::eq))
            } else {
                self.hosts.iter().any(|host| alike(&wanted, host, '.', str::eq_ignore_ascii_case))
            }
        })
    }
}

/// Whether a name is what a template says, part by part; `*` stands for one part that is not empty.
fn alike(template: &str, name: &str, separator: char, same: impl Fn(&str, &str) -> bool) -> bool {
    let (mut wanted, mut found) = (template.split(separator), name.split(separator));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(wanted), Some(part)) if same(wanted, part) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn identity(hosts: &[&str], uris: &[&str]) -> Identity {
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
        }
        Identity::of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn a_certificate_names_a_service_as_the_templates_say() {
        let defaults = ["spiffe://*/{service}", "{service}"].map(str::to_owned);
        let istio = ["spiffe://example.org/ns/prod/sa/{service}", "{service}.internal"].map(str::to_owned);
        let users = ServiceName::parse("users").unwrap();
        for (hosts, uris, by_default, by_istio) in [
            (&["users"][..], &[][..], true, false),
            (&["USERS.internal"], &[], false, true),
            (&[], &["spiffe://example.org/users"], true, false),
            (&[], &["spiffe://example.org/ns/prod/sa/users"], false, true),
            (&[], &["spiffe://example.org/ns/dev/sa/users", "spiffe:///users"], false, false),
            (&[], &["spiffe://example.org/Users"], false, false),
            (&["orders", "users.internal.example"], &["spiffe://example.org/a/users"], false, false),
            (&["*"], &["https://example.org/users"], false, false),
        ] {
            let identity = identity(hosts, uris);
            assert_eq!(identity.names(&users, &defaults), by_default, "{hosts:?} {uris:?}");
            assert_eq!(identity.names(&users, &istio), by_istio, "{hosts:?} {uris:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        for bytes in [&b""[..], b"\x30\x03\x02\x01\x05", b"hello"] {
            assert!(!Identity::of(&CertificateDer::from(bytes.to_vec())).is_some());
        }
    }
}
