//! What holds for all clients at once, whenever they connected.

use std::time::Duration;

use fyke_sdk::testing::World;

use super::*;

const OTHER: &str = "10.0.1.1:27017";
const LOOKED_AT_AGAIN: Duration = Duration::from_millis(100);

/// A pool of `db` that may be switched to `new`, whose only server is a primary.
fn two(more: &str) -> TcpHost<Mongo> {
    let configuration = format!(r#"{{"pool": {{"cluster": "db", "others": ["new"]{more}}}}}"#);
    let host = TcpHost::configure_in(&configuration, |world| {
        world.add_endpoint("db", PRIMARY);
        world.add_endpoint("new", OTHER);
    })
    .unwrap();
    opened(&host, PRIMARY);
    let hello =
        doc! { "isWritablePrimary": true, "setName": "new", "maxWireVersion": 21, "minWireVersion": 0, "ok": 1.0 };
    opened_as(&host, "new", OTHER, &hello);
    host.advance(LOOKED_AT_AGAIN);
    host
}

/// What another generation's filter says when it begins to serve.
fn switch(host: &TcpHost<Mongo>, cluster: &str, denies_writes: bool) {
    let position = serde_json::json!({ "cluster": cluster, "denies_writes": denies_writes });
    World::with(|world| world.shared.insert("mongo.switch.mongo".to_owned(), (position.to_string().into_bytes(), 99)));
    host.advance(LOOKED_AT_AGAIN);
}

fn session(mut document: Document, number: i64) -> Document {
    let id = Binary { subtype: BinarySubtype::Uuid, bytes: vec![9; 16] };
    document.extend(doc! { "lsid": { "id": id }, "txnNumber": number, "$db": "shop" });
    document
}

fn transaction(document: Document, starts: bool) -> Vec<u8> {
    let mut document = session(document, 5);
    document.insert("autocommit", false);
    if starts {
        document.insert("startTransaction", true);
    }
    command(1, &document)
}

fn goes_to(host: &TcpHost<Mongo>, client: u32) -> (String, String) {
    let lease = last(host, client);
    (lease.cluster, lease.endpoint)
}

#[test]
fn a_configuration_says_how_its_switch_stands_once_it_serves() {
    let host = pool(r#"{"stat_prefix": "orders", "pool": {"cluster": "db", "writes": "deny"}}"#);
    let stands = || World::with(|world| world.shared.get("mongo.switch.orders").cloned());
    assert_eq!(stands(), None);
    host.advance(Duration::from_millis(1));
    let (bytes, token) = stands().unwrap();
    let expected = serde_json::json!({ "cluster": "db", "denies_writes": true });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), expected);
    // And never again: another one may have the say by then.
    host.advance(Duration::from_secs(3 * 24 * 3600));
    assert_eq!(stands().unwrap().1, token);
}

#[test]
fn writes_are_denied_to_those_who_are_connected_and_reads_go_on() {
    let host = two("");
    let (client, _) = host.connect();
    let insert = command(1, &session(doc! { "insert": "users" }, 1));
    exchange(&host, client, PRIMARY, &insert, &reply(1, &doc! { "n": 1, "ok": 1.0 }));
    switch(&host, "db", true);
    let none: &[&str] = &[];
    for (request, labels) in [
        (command(2, &session(doc! { "insert": "users" }, 2)), &["RetryableWriteError", "NoWritesPerformed"][..]),
        (command(2, &doc! { "insert": "users", "$db": "shop" }), none),
        (command(2, &doc! { "aggregate": "users", "pipeline": [{ "$out": "x" }], "$db": "shop" }), none),
        (command(2, &doc! { "createUser": "x", "$db": "shop" }), none),
        (command(2, &doc! { "applyOps": [], "$db": "admin" }), none),
        (transaction(doc! { "update": "users" }, true), &["TransientTransactionError"]),
        (transaction(doc! { "commitTransaction": 1 }, false), &["RetryableWriteError"]),
    ] {
        host.send(Downstream, client, &request, false);
        assert_eq!(told(&host, client), (10107, labels.iter().map(|label| (*label).to_owned()).collect()));
    }
    assert_eq!(count("mongo_pool_refused_total{reason=writes_denied}"), 7);
    for request in [find(3), transaction(doc! { "abortTransaction": 1 }, false)] {
        exchange(&host, client, PRIMARY, &request, &reply(i32::from(request[4]), &doc! { "ok": 1.0 }));
    }
    switch(&host, "db", false);
    exchange(&host, client, PRIMARY, &insert, &reply(1, &doc! { "n": 1, "ok": 1.0 }));
}

#[test]
fn new_operations_go_elsewhere_and_what_was_begun_ends_where_it_is() {
    let host = two("");
    let (client, _) = host.connect();
    exchange(&host, client, PRIMARY, &find(1), &found(1, 77));
    let ok = reply(1, &doc! { "n": 1, "ok": 1.0 });
    exchange(&host, client, PRIMARY, &transaction(doc! { "insert": "users" }, true), &ok);
    switch(&host, "new", false);
    exchange(&host, client, OTHER, &find(2), &found(2, 88));
    assert_eq!(goes_to(&host, client).0, "new");
    // Whoever goes on with it, by whichever connection.
    let (other, _) = host.connect();
    exchange(&host, other, PRIMARY, &transaction(doc! { "count": "users" }, false), &ok);
    assert_eq!(goes_to(&host, other), ("db".to_owned(), PRIMARY.to_owned()));
    // But nothing is written there any more.
    for document in [doc! { "commitTransaction": 1 }, doc! { "insert": "users" }] {
        host.send(Downstream, other, &transaction(document, false), false);
        assert_eq!(told(&host, other), (251, vec!["TransientTransactionError".to_owned()]));
    }
    exchange(&host, other, PRIMARY, &transaction(doc! { "abortTransaction": 1 }, false), &ok);
    let more = |cursor: i64| command(3, &doc! { "getMore": cursor, "collection": "users", "$db": "shop" });
    let batch = |id: i64| reply(3, &doc! { "cursor": { "nextBatch": [], "id": id, "ns": "shop.users" }, "ok": 1.0 });
    exchange(&host, other, PRIMARY, &more(77), &batch(0));
    assert_eq!(goes_to(&host, other), ("db".to_owned(), PRIMARY.to_owned()));
    exchange(&host, client, OTHER, &more(88), &batch(88));
    assert_eq!(goes_to(&host, client), ("new".to_owned(), OTHER.to_owned()));
    // Of one that is over nobody knows anything any more.
    host.send(Downstream, client, &more(77), false);
    assert_eq!(goes_to(&host, client), ("new".to_owned(), String::new()));
    let mut next = session(doc! { "insert": "users", "autocommit": false, "startTransaction": true }, 6);
    next.insert("x", 1);
    exchange(&host, other, OTHER, &command(1, &next), &ok);
    assert_eq!(goes_to(&host, other).0, "new");
    assert_eq!(count("mongo_pool_pins_total{event=missing}"), 1);
}

#[test]
fn who_cannot_follow_ends_what_was_begun_and_is_told_to_connect_anew() {
    let host = two("");
    let (client, _) = host.connect();
    exchange(&host, client, PRIMARY, &find(1), &found(1, 77));
    switch(&host, "unheard-of", false);
    host.send(Downstream, client, &command(2, &session(doc! { "insert": "users" }, 2)), false);
    // Drivers clear their pool upon that, connect anew, and try again.
    assert_eq!(told(&host, client), (91, vec!["RetryableWriteError".to_owned(), "NoWritesPerformed".to_owned()]));
    assert_eq!(count("mongo_pool_refused_total{reason=draining}"), 1);
    let more = command(3, &doc! { "getMore": 77_i64, "collection": "users", "$db": "shop" });
    let end = reply(3, &doc! { "cursor": { "nextBatch": [], "id": 0_i64, "ns": "shop.users" }, "ok": 1.0 });
    exchange(&host, client, PRIMARY, &more, &end);
    // Greetings are about no cluster.
    host.send(Downstream, client, &command(4, &doc! { "hello": 1, "$db": "admin" }), false);
    assert!(read(&host.written(Downstream, client)).1.get_bool("isWritablePrimary").unwrap());
}

#[test]
fn it_is_looked_at_ten_times_a_second() {
    let host = two("");
    let (client, _) = host.connect();
    exchange(&host, client, PRIMARY, &find(1), &found(1, 0));
    let position = br#"{"cluster": "new", "denies_writes": false}"#.to_vec();
    World::with(|world| world.shared.insert("mongo.switch.mongo".to_owned(), (position, 99)));
    host.advance(LOOKED_AT_AGAIN - Duration::from_millis(1));
    exchange(&host, client, PRIMARY, &find(2), &found(2, 0));
    host.advance(Duration::from_millis(1));
    exchange(&host, client, OTHER, &find(3), &found(3, 0));
    // What cannot be read changes nothing.
    World::with(|world| world.shared.insert("mongo.switch.mongo".to_owned(), (b"?".to_vec(), 100)));
    host.advance(LOOKED_AT_AGAIN);
    exchange(&host, client, OTHER, &find(4), &found(4, 0));
}

#[test]
fn what_waits_when_it_is_thrown_goes_where_operations_go_then() {
    let insert = command(1, &session(doc! { "insert": "users" }, 1));
    let ok = reply(1, &doc! { "n": 1, "ok": 1.0 });
    // For a connection.
    let host = two("");
    let (client, _) = host.connect();
    host.send(Downstream, client, &insert, false);
    switch(&host, "new", false);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), b"", "nothing is written to the old cluster");
    assert_eq!(goes_to(&host, client).0, "new");
    host.lend(client, OTHER);
    assert_eq!(host.take(Downstream, client), insert);
    host.send(Upstream, client, &ok, false);
    assert_eq!(host.take(Upstream, client), ok);
    // For a primary.
    let host = two("");
    let (client, _) = host.connect();
    host.send(Downstream, client, &insert, false);
    refuse_all(&host, client);
    assert_eq!(count("mongo_pool_searching"), 1);
    switch(&host, "new", false);
    assert_eq!(goes_to(&host, client).0, "new");
    host.lend(client, OTHER);
    assert_eq!(host.take(Downstream, client), insert);
    assert_eq!(count("mongo_pool_searching"), 0);
    // For a primary, of a client that has said all and wants no answer.
    let host = two("");
    let (client, _) = host.connect();
    let unacknowledged =
        message(1, 0, opcode::MSG, &msg_body(2, &[Section::Body(doc! { "insert": "users", "$db": "shop" })]));
    host.send(Downstream, client, &unacknowledged, false);
    refuse_all(&host, client);
    host.send(Downstream, client, b"", true);
    switch(&host, "new", false);
    assert_eq!(goes_to(&host, client).0, "new");
    host.lend(client, OTHER);
    assert_eq!(host.take(Downstream, client), unacknowledged);
    // Writes end, and reads go on.
    let host = two("");
    let (client, _) = host.connect();
    for (request, is_written) in [(&insert, true), (&find(2), false)] {
        switch(&host, "db", false);
        host.send(Downstream, client, request, false);
        switch(&host, "db", true);
        host.lend(client, PRIMARY);
        if is_written {
            assert_eq!(host.take(Downstream, client), b"");
            assert_eq!(told(&host, client).0, 10107);
        } else {
            assert_eq!(host.take(Downstream, client), *request);
        }
    }
}
