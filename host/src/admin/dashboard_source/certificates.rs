//! Certificates that are presented in handshakes, read once for each generation.

use std::{collections::BTreeMap, sync::Arc};

use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, public_key::PublicKey};

use super::{Host, provenance};
use crate::{
    admin::dashboard::model::{Certificate, CertificateUse, LastUsed, Provenance, Subject, Time},
    config::resolved::Listener,
    snapshot::Snapshot,
};

/// Days before the end at which somebody should look, and must act: as the page colours them.
pub(super) const SOON: f64 = 21.0;
pub(super) const NOW: f64 = 7.0;
const DAY: f64 = 86_400.0;
/// Names of one that are shown.
const NAMES: usize = 100;

pub(super) fn certificates(host: &Host<'_>) -> Arc<[Certificate]> {
    let mut kept = host.admin.board.kept();
    match &kept.certificates {
        Some((generation, known)) if *generation == host.snapshot.generation => Arc::clone(known),
        _ => {
            let read: Arc<[Certificate]> = read(&host.snapshot).into();
            kept.certificates = Some((host.snapshot.generation, Arc::clone(&read)));
            read
        }
    }
}

/// Days until it ends; below zero when it has.
pub(super) fn days_left(certificate: &Certificate, now: Time) -> f64 {
    (certificate.not_after.seconds_since(now) - now.seconds_since(certificate.not_after)) / DAY
}

fn read(snapshot: &Snapshot) -> Vec<Certificate> {
    // By fingerprint and use: many listeners may present the same.
    let mut found: BTreeMap<(String, &'static str), Certificate> = BTreeMap::new();
    let mut note = |key: &CertifiedKey, usage: CertificateUse, subject: Subject, origin: Provenance| {
        let Some(der) = key.cert.first() else { return };
        let Some(read) = parse(der, usage, origin) else { return };
        let known = found.entry((read.fingerprint.clone(), usage.word())).or_insert(read);
        if !known.used_by.contains(&subject) {
            known.used_by.push(subject);
        }
    };
    for listener in &snapshot.config.listeners {
        let origin = provenance(&listener.origin, LastUsed::Unknown);
        for key in of_listener(listener) {
            note(key, CertificateUse::Server, Subject::Listener(listener.name.clone()), origin.clone());
        }
    }
    for (name, cluster) in &snapshot.config.clusters {
        if let Some(identity) = cluster.tls.as_ref().and_then(|tls| tls.identity.as_ref()) {
            let origin = provenance(&cluster.origin, LastUsed::Unknown);
            note(identity, CertificateUse::Client, Subject::Cluster(name.clone()), origin);
        }
    }
    found.into_values().collect()
}

fn of_listener(listener: &Listener) -> impl Iterator<Item = &Arc<CertifiedKey>> {
    let all = listener.tls.iter().chain(listener.chains.iter().filter_map(|chain| chain.tls.as_ref()));
    all.flat_map(|tls| tls.certificates.all())
}

/// `None`: what the TLS library has accepted cannot be read here.
fn parse(der: &[u8], usage: CertificateUse, provenance: Provenance) -> Option<Certificate> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let moment = |seconds: i64| Time(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    let issuer = certificate.issuer();
    let common = issuer.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
    Some(Certificate {
        names: names(&certificate),
        usage,
        used_by: Vec::new(),
        issuer: common.unwrap_or_else(|| issuer.to_string()),
        not_before: moment(certificate.validity().not_before.timestamp()),
        not_after: moment(certificate.validity().not_after.timestamp()),
        key: key(&certificate),
        fingerprint: Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect(),
        serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        provenance,
        handshakes: None,
    })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in alternative.value.general_names.iter().take(NAMES) {
            match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                    names.push((*name).to_owned());
                }
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    if names.is_empty() {
        names.push(certificate.subject().to_string());
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| std::net::Ipv6Addr::from(sixteen).to_string())
}

fn key(certificate: &X509Certificate<'_>) -> String {
    let key = certificate.public_key();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
        _ if key.algorithm.algorithm.to_id_string() == "1.3.101.112" => "Ed25519".to_owned(),
        _ => key.algorithm.algorithm.to_id_string(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_tells_its_names_and_its_end() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 1, 1);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        let read = parse(&der, CertificateUse::Server, Provenance::default()).unwrap();
        assert_eq!(read.names, ["a.example", "127.0.0.1"]);
        assert_eq!((read.key.as_str(), read.fingerprint.len()), ("ECDSA P-256", 64));
        assert_eq!(read.not_after, Time(1_924_992_000_000));
        let day = 86_400_000;
        assert_eq!(days_left(&read, Time(read.not_after.0 - 3 * day)), 3.0);
        assert_eq!(days_left(&read, Time(read.not_after.0 + day)), -1.0);
        assert!(parse(b"\x30\x03\x02\x01\x05", CertificateUse::Server, Provenance::default()).is_none());
    }
}
