//! Modules for which somebody vouches.

use std::slice;

use data_encoding::BASE64;
use serde_json::json;

use super::{
    oci::{Image, WASM, named},
    server::{Server, ok, status},
    *,
};

fn read(folder: &TempDir, source: &ModuleSource, keys: &[PublicKey]) -> Result<Module, SourceError> {
    fetcher(folder).read(&Wanted { source, sha256: Some(&digest(MODULE)), signed_by: keys })
}

#[test]
fn the_signature_of_a_file_is_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let ((first, first_key), (_, second_key)) = (signer(1), signer(2));
    let path = folder.path().join("m.wasm");
    let source = ModuleSource::File(path.clone());
    fs::write(&path, MODULE).unwrap();
    fails(read(&folder, &source, slice::from_ref(&first_key)), "signature", &["m.wasm.sig does not exist"]);
    for form in [first.sign(MODULE).as_ref().to_vec(), BASE64.encode(first.sign(MODULE).as_ref()).into_bytes()] {
        fs::write(beside(&path), form).unwrap();
        let both = [second_key.clone(), first_key.clone()];
        assert_eq!(told(read(&folder, &source, &both)).unwrap(), MODULE);
        fails(read(&folder, &source, slice::from_ref(&second_key)), "signature", &["m.wasm is not trusted"]);
    }
    fs::write(beside(&path), b"nonsense").unwrap();
    fails(read(&folder, &source, &[first_key]), "signature", &["64 bytes"]);
    assert_eq!(told(read(&folder, &source, &[])).unwrap(), MODULE);
}

#[test]
fn a_web_server_has_it_under_the_next_name() {
    let folder = tempfile::tempdir().unwrap();
    let ((first, first_key), (second, second_key)) = (signer(1), signer(2));
    let server = Server::start(move |seen, before| match seen.path.as_str() {
        "/m.wasm" => ok(MODULE),
        "/m.wasm.sig" if before < 4 => ok(first.sign(MODULE).as_ref()),
        "/m.wasm.sig" => ok(second.sign(MODULE).as_ref()),
        _ => status(404, &[]),
    });
    let source = ModuleSource::Https(server.url("/m.wasm"));
    // What was fetched without being signed does not pass for signed.
    assert_eq!(told(read(&folder, &source, &[])).unwrap(), MODULE);
    for _ in 0..2 {
        assert_eq!(told(read(&folder, &source, slice::from_ref(&first_key))).unwrap(), MODULE);
    }
    assert_eq!(server.paths(), ["/m.wasm", "/m.wasm.sig"]);
    // Nor what somebody else has signed: only the signature is asked for.
    for _ in 0..2 {
        fails(
            read(&folder, &source, slice::from_ref(&second_key)),
            "signature",
            &["/m.wasm", "the key of `signed_by`"],
        );
    }
    assert_eq!(told(read(&folder, &source, slice::from_ref(&second_key))).unwrap(), MODULE);
    assert_eq!(server.paths()[1..], ["/m.wasm.sig", "/m.wasm.sig", "/m.wasm.sig", "/m.wasm.sig"]);
    fails(read(&folder, &source, &[first_key]), "signature", &[]);
}

#[test]
fn a_web_server_without_one_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = signer(1);
    let server = Server::start(|seen, _| if seen.path == "/m.wasm" { ok(MODULE) } else { status(404, &[]) });
    let source = ModuleSource::Https(server.url("/m.wasm"));
    fails(read(&folder, &source, slice::from_ref(&key)), "signature", &["no signature", "/m.wasm.sig"]);
    let server = Server::start(|seen, _| if seen.path == "/m.wasm" { ok(MODULE) } else { ok([1; 5000]) });
    let source = ModuleSource::Https(server.url("/m.wasm"));
    fails(read(&folder, &source, &[key]), "too_large", &["/m.wasm.sig"]);
    assert!(!folder.path().join("downloads").exists());
}

#[test]
fn an_image_is_annotated_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let ((first, first_key), (_, second_key)) = (signer(1), signer(2));
    let signed = json!({"io.fyke.signature.ed25519": BASE64.encode(first.sign(MODULE).as_ref())});
    let image = Image::new(WASM, MODULE, &signed);
    let server = Server::start(move |seen, _| image.reply(seen));
    let source = named(&server, ":1");
    for _ in 0..2 {
        assert_eq!(told(read(&folder, &source, slice::from_ref(&first_key))).unwrap(), MODULE);
    }
    assert_eq!(server.seen().len(), 2);
    fails(read(&folder, &source, slice::from_ref(&second_key)), "signature", &["/team/filter:1"]);
    assert_eq!(server.seen().len(), 3, "the manifest, for its annotation");

    // A copy that was good is not if others have to vouch for it now.
    drop(server);
    let fallback = |key| fetcher(&folder).read(&Wanted { source: &source, sha256: None, signed_by: &[key] });
    assert!(fallback(first_key).unwrap().fallback.is_some());
    fails(fallback(second_key), "unreachable", &[]);
}

#[test]
fn an_image_without_one_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new(WASM, MODULE, &json!({}));
    let server = Server::start(move |seen, _| image.reply(seen));
    let (_, key) = signer(1);
    fails(read(&folder, &named(&server, ":1"), &[key]), "signature", &["io.fyke.signature.ed25519"]);
    assert!(!folder.path().join("downloads").exists());
}
