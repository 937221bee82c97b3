//! Certificates are read, checked and chosen.

use std::{fs, io, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConnection, ServerConnection, pki_types::ServerName};

use super::brief;
use crate::config::{Config, Report, load, resolved::Sni};

/// A folder with an authority (`ca.pem`), certificates of it, and a client's.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", authority.pem());
        for (file, name) in [("a", "a.example"), ("wild", "*.wild.example"), ("client", "client")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            write(&format!("{file}.pem"), params.signed_by(&key, &authority).unwrap().pem());
            write(&format!("{file}.key"), key.serialize_pem());
        }
        write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned());
        write("empty.pem", String::new());
        Self { folder }
    }

    fn load(&self, listener: &str, cluster: &str) -> Result<Config, Report> {
        let text = format!(
            "listeners:\n  web: {{ address: 127.0.0.1:0, cluster: app, tls: {listener} }}\nclusters:\n  app: {{ endpoints: [], protocol: auto, tls: {cluster} }}\n"
        );
        let path = self.folder.path().join("proxy.yaml");
        fs::write(&path, text).unwrap();
        load(&path)
    }

    fn messages(&self, listener: &str, cluster: &str) -> Vec<String> {
        brief(&self.load(listener, cluster).expect_err("should be refused"))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

const BOTH: &str = "{ certificates: [{ certificate: a.pem, key: a.key }, { certificate: wild.pem, key: wild.key }] }";
const CLIENT: &str = "{ ca: ca.pem, certificate: client.pem, key: client.key }";

/// A handshake in memory: the server's certificate, or the error of either side.
fn handshake(config: &Config, name: &'static str) -> Result<Vec<u8>, rustls::Error> {
    let listener = config.listeners[0].tls.as_ref().unwrap();
    let cluster = config.clusters["app"].tls.as_ref().unwrap();
    let mut server = ServerConnection::new(Arc::clone(&listener.config)).unwrap();
    let mut client = ClientConnection::new(Arc::clone(&cluster.config), ServerName::try_from(name).unwrap()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut reader: &mut dyn io::Read = &mut wire.as_slice();
        while server.read_tls(&mut reader).unwrap() > 0 {}
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut reader: &mut dyn io::Read = &mut wire.as_slice();
        while client.read_tls(&mut reader).unwrap() > 0 {}
        client.process_new_packets()?;
    }
    assert_eq!(client.alpn_protocol(), Some(b"h2".as_slice()));
    Ok(client.peer_certificates().unwrap()[0].to_vec())
}

#[test]
fn certificates_are_chosen_by_name() {
    let files = Files::new();
    let config = files.load(BOTH, "{ ca: ca.pem }").unwrap_or_else(|report| panic!("{report}"));
    let a = handshake(&config, "a.example").unwrap();
    let wild = handshake(&config, "x.wild.example").unwrap();
    assert_ne!(a, wild);
    // Without a fitting name the first is shown, which the client then refuses.
    assert!(handshake(&config, "b.example").is_err());
    assert!(handshake(&config, "x.y.wild.example").is_err(), "a star is one label");
}

#[test]
fn clients_are_verified_when_an_authority_is_named() {
    let files = Files::new();
    let with_authority = BOTH.replace(" }] }", " }], client_ca: ca.pem }");
    let config = files.load(&with_authority, CLIENT).unwrap();
    assert!(handshake(&config, "a.example").is_ok());
    let config = files.load(&with_authority, "{ ca: ca.pem }").unwrap();
    assert!(handshake(&config, "a.example").is_err());
}

#[test]
fn the_name_to_verify_is_the_request_s_or_fixed() {
    let files = Files::new();
    let sni = |written: &str| {
        files.load(BOTH, &format!("{{ ca: ca.pem{written} }}")).unwrap().clusters["app"].tls.clone().unwrap().sni
    };
    assert!(matches!(sni(""), Sni::Auto));
    assert!(matches!(sni(", sni: auto"), Sni::Auto));
    assert!(matches!(sni(", sni: a.example"), Sni::Name(name) if name.to_str() == "a.example"));
    assert_eq!(
        files.messages(BOTH, "{ ca: ca.pem, sni: \"not a name\" }"),
        ["4:65 \"not a name\" is not the name of a server"]
    );
}

#[test]
fn alpn_follows_the_protocol() {
    let files = Files::new();
    let config = files.load(BOTH, "{ ca: ca.pem }").unwrap();
    let tls = config.clusters["app"].tls.as_ref().unwrap();
    assert_eq!(tls.config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn what_is_wrong_with_files_is_said_at_their_names() {
    let files = Files::new();
    let pair =
        |certificate: &str, key: &str| format!("{{ certificates: [{{ certificate: {certificate}, key: {key} }}] }}");
    for (listener, expected) in [
        (pair("a.pem", "wild.key"), "2:95 this key does not belong to the certificate"),
        (pair("none.pem", "a.key"), "2:83 cannot read \"none.pem\": No such file or directory"),
        (pair("a.pem", "a.pem"), "2:95 there is no private key in \"a.pem\""),
        (pair("empty.pem", "a.key"), "2:83 there is no certificate in \"empty.pem\""),
        ("{ certificates: [] }".to_owned(), "2:67 the list is empty"),
        ("{ certificates: [{ certificate: a.pem }] }".to_owned(), "2:68 \"key\" is missing"),
    ] {
        let found = files.messages(&listener, "{ ca: ca.pem }");
        assert_eq!(found, [expected]);
    }
    let found = files.messages(&pair("garbage.pem", "a.key"), "{ ca: ca.pem }");
    assert!(found[0].contains("cannot use this certificate"), "{found:?}");
    let found = files.messages(BOTH, "{ ca: garbage.pem }");
    assert!(found[0].starts_with("4:52 cannot use the certificates in \"garbage.pem\": "), "{found:?}");
    let found = files.messages(BOTH, "{ ca: ca.pem, key: client.key }");
    assert_eq!(found, ["4:65 \"key\" needs \"certificate\" beside it"]);
}

#[test]
fn paths_are_relative_to_the_file_and_help_says_where_was_looked() {
    let files = Files::new();
    let report = files.load(BOTH, "{ ca: sub/none.pem }").unwrap_err();
    let expected = format!("looked for {}", files.path().join("sub/none.pem").display());
    assert_eq!(report.problems()[0].help.as_deref(), Some(expected.as_str()));
}

#[test]
fn private_keys_are_never_shown() {
    let files = Files::new();
    let config = files.load(BOTH, CLIENT).unwrap();
    let key = fs::read_to_string(files.path().join("a.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!format!("{config:?}").contains(line));
}
