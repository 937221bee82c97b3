//! What fetching does when servers do what servers do.

mod authentication;
mod https;
mod oci;
mod outages;
mod server;
mod signed;

use std::{fs, time::Duration};

use ring::signature::{Ed25519KeyPair, KeyPair};
use tempfile::TempDir;

use super::{digest::digest, *};

const MODULE: &[u8] = b"\0asm module";

/// Keeps nothing outside of the folder and knows no credentials. Impatient.
fn fetcher(folder: &TempDir) -> Fetcher {
    let limits = Limits {
        size: 64,
        total: Duration::from_secs(20),
        connect: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        retries: 2,
        backoff: Duration::from_millis(2),
        ..Limits::default()
    };
    Fetcher { limits, docker: None, ..Fetcher::new(Some(folder.path().join("downloads"))) }
}

fn read(fetcher: &Fetcher, source: &ModuleSource, sha256: Option<&str>) -> Result<Module, SourceError> {
    fetcher.read(&Wanted { source, sha256, signed_by: &[] })
}

fn signer(seed: u8) -> (Ed25519KeyPair, PublicKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let key = PublicKey::parse(pair.public_key().as_ref()).unwrap();
    (pair, key)
}

/// The module, or what kind of error and its text.
fn told(result: Result<Module, SourceError>) -> Result<Vec<u8>, (&'static str, String)> {
    result.map(|module| module.bytes.to_vec()).map_err(|error| (error.label(), error.to_string()))
}

/// That it failed in this way, and says so.
#[track_caller]
fn fails(result: Result<Module, SourceError>, label: &str, parts: &[&str]) {
    let (found, text) = told(result).unwrap_err();
    assert_eq!(found, label, "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn builtin_modules_are_found_by_name_and_need_no_signature() {
    let folder = tempfile::tempdir().unwrap();
    let fetcher = fetcher(&folder);
    let (name, bytes) = BUILTIN[0];
    let source = ModuleSource::Builtin(name.to_owned());
    let (_, key) = signer(1);
    let wanted = Wanted { source: &source, sha256: Some(&digest(bytes)), signed_by: &[key] };
    assert_eq!(told(fetcher.read(&wanted)).unwrap(), bytes);
    fails(read(&fetcher, &source, Some(&digest(b""))), "digest", &["its SHA-256 is", "the configuration asks for"]);
    fails(read(&fetcher, &ModuleSource::Builtin("no".to_owned()), None), "not_found", &["builtin module \"no\""]);
}

#[test]
fn files_are_read_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let fetcher = fetcher(&folder);
    let path = folder.path().join("m.wasm");
    let source = ModuleSource::File(path.clone());
    fails(read(&fetcher, &source, None), "file", &["cannot read", "m.wasm"]);
    fs::write(&path, MODULE).unwrap();
    assert_eq!(told(read(&fetcher, &source, Some(&digest(MODULE)))).unwrap(), MODULE);
    fails(read(&fetcher, &source, Some(&digest(b""))), "digest", &[&digest(MODULE), &digest(b"")]);
    fs::write(&path, [0; 65]).unwrap();
    fails(read(&fetcher, &source, None), "too_large", &["m.wasm", "64"]);
    assert!(!folder.path().join("downloads").exists(), "nothing to keep");
}

#[test]
fn it_can_be_called_from_inside_of_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let server = server::Server::start(|_, _| server::ok(MODULE));
    let (fetcher, source) = (fetcher(&folder), ModuleSource::Https(server.url("/m")));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(told(runtime.block_on(async { read(&fetcher, &source, None) })).unwrap(), MODULE);
}
