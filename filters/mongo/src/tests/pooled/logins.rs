//! Clients that log in at the proxy.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::*;
use crate::pool::scram::{Client, Hash, Verifier};

const KEY: [u8; 32] = [5; 32];

fn stored(key: &[u8]) -> Value {
    let verifier = Verifier::new(Hash::Sha256, vec![3; 28], 4096, key);
    json!({
        "stored_key": BASE64.encode(&verifier.stored_key), "server_key": BASE64.encode(&verifier.server_key),
        "salt": BASE64.encode(&verifier.salt), "iterations": 4096,
    })
}

/// `ann` may everything, as the pool's own user; `bob` may name databases that begin with `shop`, as another one.
fn guarded() -> TcpHost<Mongo> {
    let configuration = json!({ "pool": {
        "cluster": "db", "user": "proxy", "password": "x", "clients": "scram", "selection_timeout": "0s",
        "users": {
            "ann": { "scram_sha_256": stored(&KEY) },
            "bob": {
                "scram_sha_256": stored(&[6; 32]), "databases": ["shop*"],
                "upstream": { "user": "reader", "password": "y", "source": "shop" },
            },
        },
    }});
    pool(&configuration.to_string())
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}

fn ask(host: &TcpHost<Mongo>, client: u32, document: &Document) -> Document {
    host.send(Downstream, client, &command(1, document), false);
    if document.contains_key("hello") {
        // No server can be heard: what is said of them is the least.
        refuse_all(host, client);
    }
    assert!(host.leases(client).iter().all(|lease| lease.state != LeaseState::Asked));
    read(&host.written(Downstream, client)).1
}

/// Logs in, with the first step in the greeting or not. The last reply.
fn log_in(host: &TcpHost<Mongo>, client: u32, user: &str, key: &[u8], is_speculative: bool) -> Document {
    let mut scram = Client::new(Hash::Sha256, user, b"nonce");
    let mut start = doc! { "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": binary(scram.first()), "options": { "skipEmptyExchange": true } };
    let answer = if is_speculative {
        start.insert("db", "admin");
        let names = format!("admin.{user}");
        let hello = doc! { "hello": 1, "saslSupportedMechs": names, "speculativeAuthenticate": start, "$db": "admin" };
        let answer = ask(host, client, &hello);
        assert_eq!(answer.get_array("saslSupportedMechs").unwrap(), &["SCRAM-SHA-256".into()]);
        answer.get_document("speculativeAuthenticate").unwrap().clone()
    } else {
        start.insert("$db", "admin");
        ask(host, client, &start)
    };
    scram.on_server_first(answer.get_binary_generic("payload").unwrap()).unwrap();
    let proof = scram.on_salted_password(key).unwrap();
    let last =
        ask(host, client, &doc! { "saslContinue": 1, "conversationId": 1, "payload": binary(proof), "$db": "admin" });
    if last.get_f64("ok").unwrap() == 1.0 {
        scram.on_server_final(last.get_binary_generic("payload").unwrap()).unwrap();
    }
    last
}

#[test]
fn who_has_not_logged_in_gets_greetings_and_nothing_else() {
    let host = guarded();
    let (client, _) = host.connect();
    assert!(ask(&host, client, &doc! { "hello": 1, "$db": "admin" }).get_bool("isWritablePrimary").unwrap());
    for document in [doc! { "find": "users", "$db": "shop" }, doc! { "ping": 1, "$db": "admin" }] {
        let answer = ask(&host, client, &document);
        assert_eq!(answer.get_i32("code").unwrap(), 13);
        assert!(answer.get_str("errmsg").unwrap().contains("requires authentication"), "{answer}");
    }
    // Nobody learns who exists.
    for (user, key) in [("ann", [9; 32]), ("nobody", KEY)] {
        assert_eq!(log_in(&host, client, user, &key, true).get_i32("code").unwrap(), 18);
    }
    assert_eq!(ask(&host, client, &doc! { "find": "users", "$db": "shop" }).get_i32("code").unwrap(), 13);
}

#[test]
fn who_has_logged_in_goes_on_as_whom_the_configuration_says() {
    let host = guarded();
    let mut identities = Vec::new();
    for (user, key, is_speculative) in [("ann", KEY, true), ("bob", [6; 32], false), ("bob", [6; 32], true)] {
        let (client, _) = host.connect();
        assert!(log_in(&host, client, user, &key, is_speculative).get_bool("done").unwrap());
        host.send(Downstream, client, &find(2), false);
        identities.push(last(&host, client).identity);
        host.refuse(client, fyke_sdk::lease::Reason::Connect, "");
    }
    assert!(identities[0].starts_with(b"admin.proxy\0") && identities[1].starts_with(b"shop.reader\0"));
    assert_eq!(identities[1], identities[2]);
    // New connections are logged in as that.
    for (identity, user) in [(&identities[0], "admin.proxy"), (&identities[1], "shop.reader")] {
        let fresh = host.open("db", PRIMARY, identity, "");
        let (_, hello) = read(&host.written(Upstream, fresh));
        assert_eq!(hello.get_str("saslSupportedMechs").unwrap(), user);
    }
    let stranger = host.open("db", PRIMARY, b"admin.root", "");
    assert!(host.verdict(stranger).unwrap().is_err());
}

#[test]
fn a_user_may_name_only_its_databases() {
    let host = guarded();
    let (client, _) = host.connect();
    log_in(&host, client, "bob", &[6; 32], true);
    for (document, may) in [
        (doc! { "find": "users", "$db": "other" }, false),
        (doc! { "listDatabases": 1, "$db": "admin" }, false),
        (doc! { "bulkWrite": 1, "nsInfo": [{ "ns": "other.x" }], "$db": "admin" }, false),
        (doc! { "bulkWrite": 1, "nsInfo": [{ "ns": "shop.x" }, { "ns": "other.x" }], "$db": "admin" }, false),
        (doc! { "bulkWrite": 1, "nsInfo": [{ "ns": "shop.x" }, { "ns": "shop2.x" }], "$db": "admin" }, true),
        (doc! { "ping": 1, "$db": "admin" }, true),
        (doc! { "buildInfo": 1, "$db": "admin" }, true),
        (doc! { "endSessions": [], "$db": "admin" }, true),
        (doc! { "abortTransaction": 1, "$db": "admin" }, true),
        (doc! { "find": "users", "$db": "shop_eu" }, true),
    ] {
        host.send(Downstream, client, &command(2, &document), false);
        let written = host.written(Downstream, client);
        assert_eq!(written.is_empty(), may, "{document}");
        if may {
            // The servers are asked first, and then for a connection.
            refuse_all(&host, client);
            assert_eq!(told(&host, client).0, 6, "{document}");
        } else {
            assert_eq!(read(&written).1.get_i32("code").unwrap(), 13, "{document}");
        }
    }
    assert_eq!(count("mongo_pool_refused_total{reason=database}"), 4);
    // A list of namespaces speaks for no other command.
    let list = Section::Sequence("nsInfo", vec![doc! { "ns": "shop.x" }]);
    let sections = [list, Section::Body(doc! { "dropDatabase": 1, "$db": "other" })];
    host.send(Downstream, client, &message(3, 0, opcode::MSG, &msg_body(0, &sections)), false);
    assert_eq!(read(&host.written(Downstream, client)).1.get_i32("code").unwrap(), 13);
}

#[test]
fn limits_know_who_has_logged_in() {
    let configuration = json!({
        "limits": [{ "name": "x", "by": ["user"], "limit": "1/h" }],
        "pool": { "cluster": "db", "clients": "scram", "users": { "ann": { "scram_sha_256": stored(&KEY) }, "bob": { "scram_sha_256": stored(&KEY) } } },
    });
    let host = pool(&configuration.to_string());
    opened(&host, PRIMARY);
    opened(&host, SECONDARY);
    for (user, within) in [("ann", true), ("bob", true), ("ann", false)] {
        let (client, _) = host.connect();
        log_in(&host, client, user, &KEY, true);
        host.send(Downstream, client, &find(2), false);
        assert_eq!(host.leases(client).len(), usize::from(within), "{user}");
    }
}
