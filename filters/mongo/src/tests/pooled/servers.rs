//! What servers say of themselves, and how the proxy logs in.

use std::time::Duration;

use fyke_sdk::lease::Reason;

use super::*;
use crate::pool::scram::{Hash, Server, Verifier};

#[test]
fn every_server_is_asked_before_the_first_request_goes_anywhere() {
    let host = pool(r#"{"pool": {"cluster": "db", "queue_timeout": "250ms"}}"#);
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    assert_eq!((last(&host, client).endpoint.as_str(), last(&host, client).timeout), (PRIMARY, 250));
    // A new connection has told while it was made.
    opened(&host, PRIMARY);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), b"");
    assert_eq!(last(&host, client).endpoint, SECONDARY);
    // One that served before is asked.
    host.lend_after(client, SECONDARY, Duration::ZERO, true);
    let (number, asked) = read(&host.written(Upstream, client));
    assert_eq!(asked.keys().next().unwrap(), "isMaster");
    let answer = reply(number, &hello(SECONDARY));
    host.send(Upstream, client, &answer[..30], false);
    host.send(Upstream, client, &answer[30..], false);
    assert_eq!(host.take(Upstream, client), b"");
    // The request had come when nobody knew better than to ask for any.
    assert_eq!((last(&host, client).endpoint.as_str(), last(&host, client).label), ("", None));
    host.lend(client, SECONDARY);
    assert_eq!(host.take(Downstream, client), b"");
    assert_eq!(last(&host, client).label, role("primary"));
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), find(1));
    let released = vec![LeaseState::Released; 3];
    assert_eq!(states(&host, client)[..3], released);
}

#[test]
fn who_is_no_primary_any_more_makes_all_be_asked_anew() {
    let host = known();
    let (client, _) = host.connect();
    let refusal = reply(1, &doc! { "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary" });
    exchange(&host, client, PRIMARY, &command(1, &doc! { "insert": "users", "$db": "shop" }), &refusal);
    host.send(Downstream, client, &find(2), false);
    assert_eq!(last(&host, client).endpoint, PRIMARY);
}

#[test]
fn who_has_a_role_and_cannot_be_reached_is_looked_for_among_the_others() {
    let host = known();
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    assert_eq!(last(&host, client).label, role("primary"));
    // It is frozen: its socket takes connections, and nothing is answered. The others have elected another one.
    host.refuse(client, Reason::Handshake, &format!("{PRIMARY} was connected to, and nothing came"));
    assert_eq!(last(&host, client).endpoint, SECONDARY);
    host.lend_after(client, SECONDARY, Duration::ZERO, true);
    let (number, _) = read(&host.written(Upstream, client));
    host.send(Upstream, client, &reply(number, &hello(PRIMARY)), false);
    assert_eq!(last(&host, client).label, role("primary"));
    host.lend(client, SECONDARY);
    assert_eq!(host.take(Downstream, client), find(1));
}

#[test]
fn the_proxy_logs_in_with_its_own_credential() {
    let host = pool(r#"{"pool": {"cluster": "db", "user": "app", "password": "pencil"}}"#);
    let fresh = host.open("db", PRIMARY, b"admin.app", "");
    let (number, greeting) = read(&host.written(Upstream, fresh));
    let start = greeting.get_document("speculativeAuthenticate").unwrap();
    let payload = |document: &Document| document.get_binary_generic("payload").unwrap().clone();
    let mut server = Server::start(&payload(start)).unwrap();
    assert_eq!(server.user(), "app");
    let key = derived();
    let first = server.challenge(Verifier::new(Hash::Sha256, vec![1; 28], 4096, &key), &[7; 24]);
    let mut greeted = hello(PRIMARY);
    let said = doc! { "conversationId": 1, "done": false, "payload": Binary { subtype: BinarySubtype::Generic, bytes: first } };
    greeted.insert("speculativeAuthenticate", said);
    host.send(Upstream, fresh, &reply(number, &greeted), false);
    host.answer_keys();
    let (number, proof) = read(&host.written(Upstream, fresh));
    assert_eq!(proof.get_str("$db").unwrap(), "admin");
    let last = server.finish(&payload(&proof)).unwrap();
    let said = doc! { "conversationId": 1, "done": true, "payload": Binary { subtype: BinarySubtype::Generic, bytes: last }, "ok": 1.0 };
    host.send(Upstream, fresh, &reply(number, &said), false);
    assert_eq!(host.verdict(fresh), Some(Ok(())));
    assert_eq!(count("mongo_pool_handshakes_total{outcome=ok}"), 1);
    // A server that does not know the credential is not logged in to.
    let fresh = host.open("db", PRIMARY, b"admin.app", "");
    let (number, _) = read(&host.written(Upstream, fresh));
    host.send(Upstream, fresh, &reply(number, &doc! { "ok": 0.0, "code": 18 }), false);
    assert!(host.verdict(fresh).unwrap().is_err());
}

/// The key of the password `pencil` with the salt and the rounds of the test, derived by another implementation.
fn derived() -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mac = |data: &[u8]| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"pencil").unwrap();
        mac.update(data);
        mac.finalize().into_bytes().to_vec()
    };
    let mut block = mac(&[&[1; 28][..], &[0, 0, 0, 1]].concat());
    let mut key = block.clone();
    for _ in 1..4096 {
        block = mac(&block);
        key.iter_mut().zip(&block).for_each(|(key, byte)| *key ^= byte);
    }
    key
}
