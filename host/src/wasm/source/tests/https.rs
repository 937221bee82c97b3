//! Web servers.

use std::{io::Write, net::TcpListener};

use super::{
    server::{Reply, Server, ok, status},
    *,
};

fn get(folder: &TempDir, server: &Server, sha256: Option<&str>) -> Result<Module, SourceError> {
    read(&fetcher(folder), &ModuleSource::Https(server.url("/m.wasm?token=secret")), sha256)
}

#[test]
fn what_was_fetched_is_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| ok(MODULE));
    for _ in 0..2 {
        assert_eq!(told(get(&folder, &server, Some(&digest(MODULE)))).unwrap(), MODULE);
    }
    let [request] = &server.seen()[..] else { panic!("{:?}", server.seen()) };
    assert_eq!(request.path, "/m.wasm?token=secret");
    assert_eq!(request.headers["host"], server.address.to_string());
    assert_eq!(request.headers["accept-encoding"], "identity");
    assert!(request.headers["user-agent"].starts_with("fyke/"));
}

#[test]
fn damage_in_the_cache_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| ok(MODULE));
    let sha256 = digest(MODULE);
    get(&folder, &server, Some(&sha256)).unwrap();
    let file = folder.path().join(format!("downloads/{sha256}.wasm"));
    fs::write(&file, b"\0asm Module").unwrap();
    assert_eq!(told(get(&folder, &server, Some(&sha256))).unwrap(), MODULE);
    assert_eq!((server.seen().len(), fs::read(&file).unwrap()), (2, MODULE.to_vec()));
}

#[test]
fn a_cache_that_cannot_be_written_costs_downloads_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("downloads"), b"in the way").unwrap();
    let server = Server::start(|_, _| ok(MODULE));
    for requests in 1..3 {
        assert_eq!(told(get(&folder, &server, Some(&digest(MODULE)))).unwrap(), MODULE);
        assert_eq!(server.seen().len(), requests);
    }
    let without = Fetcher { cache: None, ..fetcher(&folder) };
    let source = ModuleSource::Https(server.url("/m.wasm"));
    assert_eq!(told(read(&without, &source, Some(&digest(MODULE)))).unwrap(), MODULE);
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| ok(MODULE));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(told(get(&folder, &server, Some(&digest(MODULE)))).unwrap(), MODULE));
        }
    });
    let left: Vec<_> = fs::read_dir(folder.path().join("downloads")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn other_bytes_are_refused_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| ok(MODULE));
    let other = digest(b"other");
    fails(get(&folder, &server, Some(&other)), "digest", &[&other, &digest(MODULE)]);
    assert_eq!(server.seen().len(), 1, "they will not be others in a moment");
    assert!(!folder.path().join("downloads").exists());
}

#[test]
fn refusals_are_told_and_not_argued_with() {
    let folder = tempfile::tempdir().unwrap();
    for (code, label) in [
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "not_found"),
        (410, "not_found"),
        (400, "status"),
        (204, "status"),
        (304, "status"),
    ] {
        let server = Server::start(move |_, _| status(code, &[]));
        let result = get(&folder, &server, None);
        assert!(!result.as_ref().unwrap_err().is_outage());
        let error = told(result).unwrap_err();
        assert_eq!((error.0, server.seen().len()), (label, 1), "{code}");
        assert!(error.1.contains("/m.wasm?...") && !error.1.contains("secret"), "{}", error.1);
    }
}

#[test]
fn redirects_are_followed_five_times() {
    let folder = tempfile::tempdir().unwrap();
    let codes = [301, 302, 303, 307, 308];
    let server = Server::start(move |seen, before| match codes.get(before) {
        Some(code) => status(*code, &[("location", &format!("/{before}"))]),
        None if seen.path == "/4" => ok(MODULE),
        None => status(302, &[("location", "/again?key=secret")]),
    });
    assert_eq!(told(get(&folder, &server, None)).unwrap(), MODULE);
    assert_eq!(server.paths()[1..], ["/0", "/1", "/2", "/3", "/4"]);
    fails(get(&folder, &server, None), "redirect", &["more than 5 times"]);
    assert_eq!(server.seen().len(), 12);
}

#[test]
fn redirects_to_nowhere_or_to_plain_text_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    for (location, reason) in [
        (None, "nowhere"),
        (Some("http://a.example/m"), "loopback"),
        (Some("file:///etc/passwd"), "redirects, but"),
        (Some("https://user@a.example/"), "credentials"),
    ] {
        let headers: Vec<_> = location.map(|location| ("location", location)).into_iter().collect();
        let server = Server::start(move |_, _| status(302, &headers));
        fails(get(&folder, &server, None), "redirect", &[reason]);
        assert_eq!(server.seen().len(), 1);
    }
    // What a distant server says about the loopback interface would be this machine's.
    let plain = Server::start(|_, _| ok(MODULE));
    let target = plain.url("/").to_string();
    let (secure, roots) = Server::secure(move |_, _| status(302, &[("location", &target)]));
    let fetcher = Fetcher { roots: Some(roots), ..fetcher(&folder) };
    fails(read(&fetcher, &ModuleSource::Https(secure.url("/")), None), "redirect", &["is not https"]);
    assert!(plain.seen().is_empty());
}

#[test]
fn too_much_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for reply in [
        Reply::Stall(65, Vec::new()),
        Reply::Undeclared(vec![0; 65]),
        Reply::Undeclared(vec![0; 1 << 20]),
        Reply::Answer(
            200,
            vec![("transfer-encoding", "chunked".to_owned()), ("x", "\r\n\r\n41\r\n".to_owned() + &"a".repeat(65))],
            Vec::new(),
        ),
    ] {
        let server = Server::start(move |_, _| reply.clone());
        fails(get(&folder, &server, None), "too_large", &["64 bytes"]);
        assert_eq!(server.seen().len(), 1);
    }
    for reply in [ok([0; 64]), Reply::Undeclared(vec![0; 64])] {
        let server = Server::start(move |_, _| reply.clone());
        assert_eq!(told(get(&folder, &server, None)).unwrap(), [0; 64]);
    }
}

#[test]
fn tls_is_for_the_name_and_by_who_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (server, roots) = Server::secure(|_, _| ok(MODULE));
    let trusting = Fetcher { roots: Some(roots), ..fetcher(&folder) };
    let source = ModuleSource::Https(server.url("/m.wasm"));
    assert_eq!(told(read(&trusting, &source, None)).unwrap(), MODULE);

    let by_address = format!("https://127.0.0.1:{}/m.wasm", server.address.port());
    let by_address = ModuleSource::Https(Url::parse(&by_address).unwrap());
    fails(read(&trusting, &by_address, None), "tls", &["127.0.0.1", "certificate"]);

    let (_, others) = Server::secure(|_, _| ok(MODULE));
    let wary = Fetcher { roots: Some(others), ..fetcher(&folder) };
    let error = read(&wary, &source, None).unwrap_err();
    assert!(!error.is_outage());
    fails(Err(error), "tls", &["localhost", "invalid peer certificate", "SSL_CERT_FILE"]);
    let nobody = Fetcher { roots: Some(Arc::new(RootCertStore::empty())), ..fetcher(&folder) };
    fails(read(&nobody, &source, None), "tls", &["ca-certificates"]);
    assert_eq!(server.seen().len(), 1);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = Url::parse(&format!("https://localhost:{}/", listener.local_addr().unwrap().port())).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        fails(read(&trusting, &ModuleSource::Https(plain), None), "tls", &["localhost"]);
    });
}
