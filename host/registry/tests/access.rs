//! Who may write, and who may read.
#![cfg(test)]
#![allow(missing_docs, reason = "tests")]

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use fyke_registry::{Clock, Registry, ServeError};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use support::{Running, settings, start, until};
use tokio::net::{TcpListener, TcpStream};

const USERS: &str = "/v1/registration/users";
const TOKENS: &str =
    "services:\n  users: [token-of-users-01]\n  orders: [token-of-orders-1]\nread: [token-of-readers-1]\n";

async fn with(registry: &Running, method: Method, path: &str, token: &str) -> StatusCode {
    let authorization = format!("Bearer {token}");
    let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
    if !token.is_empty() {
        headers.push(("authorization", &authorization));
    }
    registry.request(method, path, &headers, "ip=10.0.0.1&port=80&load_balancing_weight=7").await.status
}

#[tokio::test]
async fn a_token_writes_its_service_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.yaml");
    std::fs::write(&path, TOKENS).unwrap();
    let registry = start(json!({"tokens_file": path})).await;
    for (token, status) in [
        ("", StatusCode::UNAUTHORIZED),
        ("token-of-nobody-1", StatusCode::UNAUTHORIZED),
        ("token-of-orders-1", StatusCode::FORBIDDEN),
        ("token-of-readers-1", StatusCode::FORBIDDEN),
        ("token-of-users-01", StatusCode::OK),
    ] {
        assert_eq!(with(&registry, Method::POST, USERS, token).await, status, "{token}");
    }
    for (method, path) in [
        (Method::DELETE, "/v1/registration/users/10.0.0.1"),
        (Method::POST, "/v1/loadbalancing/users"),
        (Method::DELETE, "/v1/loadbalancing/users"),
    ] {
        assert_eq!(with(&registry, method.clone(), path, "token-of-orders-1").await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(with(&registry, method, path, "").await, StatusCode::UNAUTHORIZED, "{path}");
    }
    let refused = registry.form(USERS, "").await;
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"registry\"");
    let basic = registry.request(Method::POST, USERS, &[("authorization", "Basic dTpw")], "").await;
    assert_eq!(basic.status, StatusCode::UNAUTHORIZED);
    // Reading is open.
    assert_eq!(registry.get(USERS).await.hosts(), ["10.0.0.1:80"]);
}

#[tokio::test]
async fn reading_needs_a_token_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.yaml");
    std::fs::write(&path, TOKENS).unwrap();
    let registry = start(json!({"tokens_file": path, "read_tokens": true})).await;
    for (path, token, status) in [
        (USERS, "", StatusCode::UNAUTHORIZED),
        (USERS, "token-of-orders-1", StatusCode::FORBIDDEN),
        (USERS, "token-of-users-01", StatusCode::OK),
        (USERS, "token-of-readers-1", StatusCode::OK),
        ("/v1/services", "token-of-users-01", StatusCode::FORBIDDEN),
        ("/v1/services", "token-of-readers-1", StatusCode::OK),
        ("/metrics", "", StatusCode::UNAUTHORIZED),
        ("/healthz", "", StatusCode::OK),
    ] {
        assert_eq!(with(&registry, Method::GET, path, token).await, status, "{path} {token}");
    }
    let eds = |token: &'static str, body: &'static str| {
        let registry = &registry;
        async move {
            let headers = [("content-type", "application/json"), ("authorization", token)];
            registry.request(Method::POST, "/v3/discovery:endpoints", &headers, body).await.status
        }
    };
    assert_eq!(eds("Bearer token-of-users-01", r#"{"resource_names":["users"]}"#).await, StatusCode::OK);
    assert_eq!(
        eds("Bearer token-of-users-01", r#"{"resource_names":["users","orders"]}"#).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(eds("Bearer token-of-users-01", "{}").await, StatusCode::FORBIDDEN);
    assert_eq!(eds("bearer token-of-readers-1", "{}").await, StatusCode::OK);
}

#[tokio::test]
async fn tokens_are_read_again_and_a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.yaml");
    std::fs::write(&path, TOKENS).unwrap();
    let registry = start(json!({"tokens_file": path})).await;
    let failures = || registry.metric("fyke_registry_file_failures_total");
    std::fs::write(&path, "services: {users: [token-of-users-02]}").unwrap();
    until("the new token is known", || async {
        registry.clock.advance(Duration::from_secs(1));
        with(&registry, Method::POST, USERS, "token-of-users-02").await == StatusCode::OK
    })
    .await;
    assert_eq!(with(&registry, Method::POST, USERS, "token-of-users-01").await, StatusCode::UNAUTHORIZED);
    std::fs::write(&path, "services: [").unwrap();
    until("it was looked at", || async {
        registry.clock.advance(Duration::from_secs(1));
        failures().await > 0
    })
    .await;
    assert_eq!(with(&registry, Method::POST, USERS, "token-of-users-02").await, StatusCode::OK);
}

#[tokio::test]
async fn an_open_registry_is_for_loopback_and_not_for_browsers() {
    let registry = start(json!({"open": true})).await;
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "http://example.org")];
    let page = registry.request(Method::POST, USERS, &headers, "ip=10.0.0.1&port=80").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    registry.stop().await.unwrap();

    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let registry = Registry::open(settings(json!({"open": true})), Clock::system()).await.unwrap();
    let served = registry.serve(listener, std::future::pending()).await;
    assert!(matches!(served, Err(ServeError::OpenToOthers(_))), "{served:?}");

    let closed = start(json!({})).await;
    assert_eq!(closed.form(USERS, "ip=10.0.0.1&port=80").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn settings_that_name_what_is_not_there_are_refused() {
    for (json, path) in [
        (json!({"tokens_file": "/nowhere/tokens"}), "/nowhere/tokens"),
        (json!({"tls": {"certificate": "/nowhere/a", "key": "/nowhere/b"}}), "/nowhere/a"),
        (json!({"redis": {"url": "http://a"}}), "redis.url"),
        (json!({"redis": {"url": "redis://a", "password_file": "/nowhere/p"}}), "/nowhere/p"),
    ] {
        let error = Registry::open(settings(json), Clock::system()).await.unwrap_err().to_string();
        assert!(error.starts_with(path), "{error}");
    }
}

/// A certificate authority, and what it has issued.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key.
    fn issue(&self, hosts: &[&str], uri: Option<&str>) -> (String, String) {
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        if let Some(uri) = uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, folder: &Path) -> Value {
        let (certificate, key) = self.issue(&["localhost"], None);
        for (name, text) in [("ca.pem", &self.0.pem()), ("certificate.pem", &certificate), ("key.pem", &key)] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        json!({
            "certificate": folder.join("certificate.pem"), "key": folder.join("key.pem"), "client_ca": folder.join("ca.pem"),
        })
    }

    fn client(&self, own: Option<(String, String)>) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes()).unwrap()).unwrap();
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        Arc::new(match own {
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
            None => builder.with_no_client_auth(),
        })
    }
}

/// `None` where there was no answer.
async fn over_tls(
    registry: &Running,
    client: Arc<rustls::ClientConfig>,
    path: &str,
    token: &str,
) -> Option<StatusCode> {
    let stream = TcpStream::connect(registry.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(client);
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let mut request =
        Request::post(path).header("host", "localhost").header("content-type", "application/x-www-form-urlencoded");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = sender.send_request(request.body(Full::<Bytes>::from("ip=10.0.0.1&port=80")).unwrap()).await.ok()?;
    let status = answer.status();
    answer.into_body().collect().await.ok()?;
    Some(status)
}

#[tokio::test]
async fn a_client_certificate_writes_the_service_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let tokens = folder.path().join("tokens.yaml");
    std::fs::write(&tokens, TOKENS).unwrap();
    let registry = start(json!({"tls": authority.write(folder.path()), "tokens_file": tokens})).await;
    for (hosts, uri, token, status) in [
        (&["users"][..], None, "", StatusCode::OK),
        (&[], Some("spiffe://example.org/users"), "", StatusCode::OK),
        (&["orders"], None, "", StatusCode::FORBIDDEN),
        (&["orders"], Some("spiffe://example.org/a/users"), "", StatusCode::FORBIDDEN),
        (&["orders"], None, "token-of-users-01", StatusCode::OK),
    ] {
        let client = authority.client(Some(authority.issue(hosts, uri)));
        assert_eq!(over_tls(&registry, client, USERS, token).await, Some(status), "{hosts:?} {uri:?}");
    }
    let nobody = authority.client(None);
    assert_eq!(over_tls(&registry, Arc::clone(&nobody), USERS, "").await, Some(StatusCode::UNAUTHORIZED));
    assert_eq!(over_tls(&registry, nobody, USERS, "token-of-users-01").await, Some(StatusCode::OK));
    // Somebody else's authority names nobody.
    let stranger = authority.client(Some(Authority::new().issue(&["users"], None)));
    assert_eq!(over_tls(&registry, stranger, USERS, "").await, None);
}

#[tokio::test]
async fn certificates_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = Authority::new();
    let registry = start(json!({"tls": first.write(folder.path())})).await;
    let second = Authority::new();
    second.write(folder.path());
    until("the new authority is known", || async {
        registry.clock.advance(Duration::from_secs(1));
        let client = second.client(Some(second.issue(&["users"], None)));
        over_tls(&registry, client, USERS, "").await == Some(StatusCode::OK)
    })
    .await;
}
