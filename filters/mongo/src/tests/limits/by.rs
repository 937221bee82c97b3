//! What is told apart.

use super::*;

/// A limit of one a minute by this, and whether what differs in it has a count of its own.
#[track_caller]
fn tells_apart(by: &str, one_of_them: &Document, other: &Document) {
    let host = one(&json!({ "name": "x", "by": [by], "limit": "1/m" }));
    let (client, _) = host.connect();
    assert!(passes(&host, client, &command(1, one_of_them)), "{by}");
    assert!(passes(&host, client, &command(2, other)), "{by}");
    assert!(!passes(&host, client, &command(3, one_of_them)), "{by}");
    assert!(!passes(&host, client, &command(4, other)), "{by}");
}

#[test]
fn by_what_an_operation_says() {
    let find = doc! { "find": "c", "comment": r#"{"callingFunction":"f"}"#, "$db": "d" };
    tells_apart("database", &find, &doc! { "find": "c", "$db": "e" });
    tells_apart("collection", &find, &doc! { "find": "e", "$db": "d" });
    tells_apart("command", &find, &doc! { "count": "c", "$db": "d" });
    tells_apart("callsite", &find, &doc! { "find": "c", "comment": { "callingFunction": "g" }, "$db": "d" });
}

#[test]
fn by_what_a_client_calls_itself_however_many_labels_there_are() {
    let host = limited(&json!({
        "labels": { "applications": 0 }, "limits": [{ "name": "x", "by": ["application"], "limit": "1/m" }],
    }));
    let clients: Vec<u32> = ["web", "cron"]
        .into_iter()
        .map(|name| {
            let (client, _) = host.connect();
            let hello = doc! { "hello": 1, "client": { "application": { "name": name } }, "$db": "admin" };
            assert!(passes(&host, client, &command(1, &hello)));
            client
        })
        .collect();
    assert!(clients.iter().all(|client| passes(&host, *client, &find(2))));
    assert!(clients.iter().all(|client| !passes(&host, *client, &find(3))));
}

#[test]
fn by_where_a_client_comes_from_without_its_port() {
    let host = one(&json!({ "name": "x", "by": ["address"], "limit": "1/m" }));
    let expected = [
        ("10.0.0.1:4000", true),
        ("10.0.0.1:4001", false),
        ("10.0.0.2:4000", true),
        ("[::1]:4000", true),
        ("[::1]:4001", false),
    ];
    for (address, is_first) in expected {
        let (client, _) = host.connect();
        host.connection(client, |state| state.set_property("source.address", address.as_bytes()));
        assert_eq!(passes(&host, client, &find(1)), is_first, "{address}");
    }
}

fn sasl_start(number: i32, mechanism: &str, payload: &[u8]) -> Vec<u8> {
    let payload = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: payload.to_vec() };
    command(number, &doc! { "saslStart": 1, "mechanism": mechanism, "payload": payload, "$db": "admin" })
}

/// Logs in, if the server says so.
fn log_in(host: &TcpHost<Mongo>, client: u32, user: &str, ok: i32) {
    let first = sasl_start(1, "SCRAM-SHA-256", format!("n,,n={user},r=abc").as_bytes());
    assert!(passes(host, client, &first));
    host.send(Upstream, client, &reply(1, &doc! { "conversationId": 1, "done": false, "ok": 1 }), false);
    assert!(passes(host, client, &command(2, &doc! { "saslContinue": 1, "conversationId": 1, "$db": "admin" })));
    host.send(Upstream, client, &reply(2, &doc! { "conversationId": 1, "done": ok == 1, "ok": ok }), false);
}

#[test]
fn by_who_has_logged_in_and_not_by_who_says_so() {
    let host = one(&json!({ "name": "x", "by": ["user"], "limit": "1/m" }));
    let client = |user: &str, ok: i32| {
        let (client, _) = host.connect();
        log_in(&host, client, user, ok);
        client
    };
    let clients = [("ann", 1), ("ann", 1), ("bob", 1), ("eve", 0), ("bob", 0)].map(|(user, ok)| client(user, ok));
    let passed = clients.map(|client| passes(&host, client, &find(3)));
    // Who is nobody shares the count of nobody.
    assert_eq!(passed, [true, false, true, true, false]);
    let refused = records().into_iter().filter(|record| record["reason"] == "limit");
    let users: Vec<_> = refused.map(|record| record.get("user").cloned()).collect();
    assert_eq!(users, [Some(json!("ann@admin")), None]);
}

#[test]
fn every_way_to_log_in_has_a_name() {
    let speculative =
        |login: Document| command(1, &doc! { "hello": 1, "speculativeAuthenticate": login, "$db": "admin" });
    let x509 = doc! { "authenticate": 1, "mechanism": "MONGODB-X509", "user": "CN=ann", "db": "$external" };
    let scram = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: b"n,,n=ann,r=x".to_vec() };
    let scram = doc! { "saslStart": 1, "mechanism": "SCRAM-SHA-1", "payload": scram, "db": "shop" };
    let accepted = doc! { "speculativeAuthenticate": { "done": false }, "ok": 1 };
    let mut direct = x509.clone();
    direct.extend(doc! { "$db": "$external" });
    direct.remove("db");
    let go_on = command(2, &doc! { "saslContinue": 1, "$db": "shop" });
    let done = doc! { "done": true, "ok": 1 };
    // What servers do not go by is no claim.
    let bob = |payload: &[u8]| bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: payload.to_vec() };
    let mut inside = doc! { "saslStart": 1, "mechanism": "SCRAM-SHA-1", "payload": bob(b"n,,n=bob,r=x") };
    inside.extend(doc! { "speculativeAuthenticate": scram.clone(), "$db": "shop" });
    let mut beside = doc! { "hello": 1, "speculativeAuthenticate": { "authenticate": 1, "mechanism": "MONGODB-X509" } };
    beside.extend(doc! { "user": "CN=ann", "$db": "admin" });
    let other = doc! { "saslStart": 1, "mechanism": "GSSAPI", "payload": bob(b"?"), "user": "ann", "$db": "$external" };
    let mut twice = crate::bson::write::Document::new();
    twice.int32("saslStart", 1).string("mechanism", "PLAIN").binary("payload", b"\0bob\0x");
    twice.binary("payload", b"\0ann\0x").string("$db", "admin");
    let twice = crate::wire::write::op_msg(1, 0, 0, &twice.finish());
    for (requests, user) in [
        (vec![(command(1, &inside), doc! { "done": false, "ok": 1 }), (go_on.clone(), done.clone())], "bob@shop"),
        (vec![(command(1, &beside), accepted.clone())], ""),
        (vec![(command(1, &other), done.clone())], ""),
        (vec![(twice, done.clone())], "bob@admin"),
        (vec![(speculative(x509.clone()), accepted.clone())], "CN=ann@$external"),
        (vec![(speculative(x509), doc! { "ok": 1 })], ""),
        (vec![(command(1, &direct), doc! { "user": "CN=ann", "ok": 1 })], "CN=ann@$external"),
        (vec![(speculative(scram.clone()), accepted.clone()), (go_on.clone(), done.clone())], "ann@shop"),
        (vec![(speculative(scram.clone()), accepted)], ""),
        (vec![(sasl_start(1, "PLAIN", b"\0ann\0secret"), done.clone())], "ann@admin"),
        (vec![(sasl_start(1, "PLAIN", b"\0ann\0wrong"), doc! { "ok": 0, "done": true })], ""),
        (
            vec![
                (speculative(scram), doc! { "ok": 1 }),
                (go_on, done),
                (command(3, &doc! { "logout": 1, "$db": "shop" }), doc! { "ok": 1 }),
            ],
            "",
        ),
    ] {
        let host = one(&json!({ "name": "x", "limit": "9/m" }));
        let (client, _) = host.connect();
        for (request, answer) in requests {
            host.send(Downstream, client, &request, false);
            let number = i32::from_le_bytes(request[4..8].try_into().unwrap());
            host.send(Upstream, client, &reply(number, &answer), false);
        }
        host.send(Downstream, client, &find(9), false);
        host.send(Upstream, client, &reply(9, &doc! { "ok": 1 }), false);
        let last = records().pop().unwrap();
        assert_eq!(last.get("user").and_then(Value::as_str).unwrap_or_default(), user, "{last}");
    }
}

#[test]
fn a_certificate_names_who_does_not_log_in() {
    let host = one(&json!({ "name": "x", "match": { "users": ["CN=app*"] }, "limit": "1/m" }));
    for (subject, expected) in [("CN=app-1,O=x", [true, false]), ("CN=other", [true, true])] {
        let (client, _) = host.connect();
        host.connection(client, |state| state.set_property("connection.subject_peer_certificate", subject.as_bytes()));
        assert_eq!([passes(&host, client, &find(1)), passes(&host, client, &find(2))], expected, "{subject}");
    }
}

#[test]
fn a_limit_is_about_what_it_matches() {
    let host = one(&json!({
        "name": "x", "limit": "1/m",
        "match": { "databases": ["d"], "collections": ["c*"], "callsites": ["load*"], "commands": ["find"] },
    }));
    let (client, _) = host.connect();
    let at = |collection: &str, callsite: &str| {
        command(1, &doc! { "find": collection, "comment": { "callingFunction": callsite }, "$db": "d" })
    };
    assert!(passes(&host, client, &at("c1", "loadUser")));
    for (collection, callsite, expected) in [("c2", "loadItem", false), ("x", "loadUser", true), ("c1", "save", true)] {
        assert_eq!(passes(&host, client, &at(collection, callsite)), expected, "{collection} {callsite}");
    }
}

#[test]
fn a_bulk_write_counts_where_its_limit_is_about_one_of_its_namespaces() {
    let limit = json!({ "name": "items", "match": { "databases": ["shop"], "collections": ["items"] }, "by": ["collection"], "limit": "1/h" });
    let host = one(&limit);
    let (client, _) = host.connect();
    let bulk = |number: i32, namespaces: &[&str]| {
        let namespaces: Vec<_> = namespaces.iter().map(|name| doc! { "ns": *name }).collect();
        command(number, &doc! { "bulkWrite": 1, "ops": [{ "insert": 0 }], "nsInfo": namespaces, "$db": "admin" })
    };
    assert!(passes(&host, client, &bulk(1, &["shop.orders", "other.items"])));
    assert!(passes(&host, client, &bulk(2, &["shop.orders", "shop.items"])));
    assert!(!passes(&host, client, &bulk(3, &["shop.items"])));
    assert_eq!((outcome("items", "ok"), outcome("items", "over")), (1, 1));
}

#[test]
fn more_namespaces_than_are_looked_at_are_refused_where_a_limit_counts() {
    let host = one(&json!({ "name": "items", "match": { "collections": ["items"] }, "limit": "100/h" }));
    let (client, _) = host.connect();
    let namespaces: Vec<_> = (0..17).map(|number| doc! { "ns": format!("shop.decoy{number}") }).collect();
    let bulk = doc! { "bulkWrite": 1, "ops": [{ "insert": 0 }], "nsInfo": namespaces, "$db": "admin" };
    assert!(!passes(&host, client, &command(1, &bulk)));
    assert_eq!(told(&host, client).get_i32("code").unwrap(), 9);
}
