//! Servers that are out of order, for a moment or for longer.

use std::{net::TcpListener, time::Instant};

use super::{
    server::{Reply, Server, ok, status},
    *,
};

fn get(folder: &TempDir, server: &Server) -> Result<Module, SourceError> {
    read(&fetcher(folder), &ModuleSource::Https(server.url("/m.wasm")), Some(&digest(MODULE)))
}

#[test]
fn what_passes_is_waited_for() {
    for reply in [
        status(503, &[]),
        status(500, &[("retry-after", "0")]),
        status(429, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]),
        status(408, &[]),
        status(425, &[]),
        Reply::Cut(MODULE.len(), MODULE[..4].to_vec()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(move |_, before| if before < 2 { reply.clone() } else { ok(MODULE) });
        assert_eq!(told(get(&folder, &server)).unwrap(), MODULE);
        assert_eq!(server.seen().len(), 3);
    }
}

#[test]
fn what_does_not_pass_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (reply, label, reason) in [
        (status(503, &[]), "status", "503 Service Unavailable"),
        (Reply::Answer(429, vec![], br#"{"errors":[{"message":"slow\ndown"}]}"#.to_vec()), "status", "(slowdown)"),
        (Reply::Cut(MODULE.len(), MODULE[..4].to_vec()), "unreachable", "end of file before message length reached"),
        (Reply::Cut(4, b"HTTP".to_vec()), "digest", "SHA-256"),
    ] {
        let server = Server::start(move |_, _| reply.clone());
        let result = get(&folder, &server);
        let outage = result.as_ref().unwrap_err().is_outage();
        fails(result, label, &[reason]);
        assert_eq!((outage, server.seen().len()), if label == "digest" { (false, 1) } else { (true, 3) });
    }
}

#[test]
fn a_server_that_wants_a_long_pause_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for wait in ["11", "18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let server = Server::start(move |_, _| status(503, &[("retry-after", wait)]));
        fails(get(&folder, &server), "status", &["503"]);
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn nobody_there_is_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let source = Url::parse(&format!("http://{address}/m.wasm")).map(ModuleSource::Https).unwrap();
    let error = read(&fetcher(&folder), &source, None).unwrap_err();
    assert!(error.is_outage());
    fails(Err(error), "unreachable", &[&address.to_string(), "refused"]);
    let source = Url::parse("https://fyke.invalid/m.wasm").map(ModuleSource::Https).unwrap();
    fails(read(&fetcher(&folder), &source, None), "unreachable", &["fyke.invalid", "resolve"]);
}

#[test]
fn stalls_are_not_waited_out() {
    let folder = tempfile::tempdir().unwrap();
    for (reply, doing) in
        [(Reply::Silence, "answering"), (Reply::Stall(MODULE.len(), b"\0as".to_vec()), "sending more")]
    {
        let server = Server::start(move |_, _| reply.clone());
        let mut fetcher = fetcher(&folder);
        fetcher.limits.idle = Duration::from_millis(50);
        let error = read(&fetcher, &ModuleSource::Https(server.url("/m")), None).unwrap_err();
        assert!(error.is_outage());
        fails(Err(error), "timeout", &[doing, "50ms"]);
        assert_eq!(server.seen().len(), 3);
    }
}

#[test]
fn all_of_it_together_has_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| Reply::Silence);
    let mut fetcher = fetcher(&folder);
    fetcher.limits.total = Duration::from_millis(100);
    fetcher.limits.retries = u32::MAX;
    let begun = Instant::now();
    let result = read(&fetcher, &ModuleSource::Https(server.url("/m")), None);
    assert!(begun.elapsed() < fetcher.limits.idle);
    fails(result, "timeout", &["all of it together", "100ms"]);

    // The last reason is worth more than a timeout.
    let server = Server::start(|_, _| status(503, &[("retry-after", "1")]));
    fails(read(&fetcher, &ModuleSource::Https(server.url("/m")), None), "status", &["503"]);
    assert_eq!(server.seen().len(), 1);
}
