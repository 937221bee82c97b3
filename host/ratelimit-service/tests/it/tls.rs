//! TLS and clients' certificates.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use fyke_ratelimit_service::{Settings, TlsSettings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Running, soon};

const RULES: &str = "domain: d\ndescriptors: []\n";

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a certificate and its key as `NAME.pem` and `NAME.key`.
    pub fn issue(&self, directory: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        // Other than the authority's, or OpenSSL takes it for signed by itself.
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(directory.join(format!("{name}.pem")), params.signed_by(&key, &self.0).unwrap().pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn client(authority: &Authority, identity: Option<(&Path, &str)>, alpn: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((directory, name)) => {
            let certificate = CertificateDer::from_pem_file(directory.join(format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// What is answered over HTTP/1.1, and the certificate that was shown.
async fn healthcheck(running: &Running, client: &TlsConnector) -> std::io::Result<(String, Vec<u8>)> {
    soon(async {
        let stream = TcpStream::connect(running.address()).await?;
        let mut stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
        stream.write_all(b"GET /healthcheck HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        Ok((text, certificate))
    })
    .await
}

fn with_tls(settings: &mut Settings, directory: &Path, client_ca: Option<&str>) {
    let path = |name: &str| directory.join(name);
    let client_ca = client_ca.map(path);
    settings.listeners[0].tls =
        Some(TlsSettings { certificate: path("server.pem"), key: path("server.key"), client_ca });
}

#[tokio::test]
async fn only_clients_with_a_certificate_are_served_where_they_need_one() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue(directory.path(), "server");
    authority.issue(directory.path(), "client");
    other.issue(directory.path(), "stranger");
    fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let running = Running::with(RULES, |settings| with_tls(settings, directory.path(), Some("ca.pem"))).await;
    let with = |name| client(&authority, Some((directory.path(), name)), b"http/1.1");
    let (text, _) = healthcheck(&running, &with("client")).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(healthcheck(&running, &client(&authority, None, b"http/1.1")).await.is_err());
    assert!(healthcheck(&running, &with("stranger")).await.is_err());
}

#[tokio::test]
async fn certificates_are_read_again_with_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(directory.path(), "server");
    let running = Running::with(RULES, |settings| with_tls(settings, directory.path(), None)).await;
    let client = client(&authority, None, b"http/1.1");
    let (_, first) = healthcheck(&running, &client).await.unwrap();
    authority.issue(directory.path(), "server");
    running.handle.reload().await.unwrap();
    let (_, second) = healthcheck(&running, &client).await.unwrap();
    assert_ne!(first, second);
    fs::write(directory.path().join("server.key"), "nothing").unwrap();
    let error = running.handle.reload().await.unwrap_err().to_string();
    assert!(error.starts_with("tls: ") && error.contains("server.key"), "{error}");
    assert_eq!(healthcheck(&running, &client).await.unwrap().1, second, "those before are kept");
}

#[tokio::test]
async fn http2_is_agreed_on() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(directory.path(), "server");
    let running = Running::with(RULES, |settings| with_tls(settings, directory.path(), None)).await;
    let connector = client(&authority, None, b"h2");
    let stream = TcpStream::connect(running.address()).await.unwrap();
    let stream = soon(connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}
