//! Clients that share connections.

mod cuts;
mod doubts;
mod elections;
mod failures;
mod faults;
mod hostile;
mod logins;
mod servers;
mod switch;

use bson::{Binary, Document, doc, spec::BinarySubtype};
use fyke_sdk::Side::{Downstream, Upstream};
use fyke_sdk::testing::{LeaseRecord, LeaseState, TcpHost};

use super::{Section, command, count, message, msg_body, reply};
use crate::Mongo;
use crate::wire::{self, opcode};

const PRIMARY: &str = "10.0.0.1:27017";
const SECONDARY: &str = "10.0.0.2:27017";

fn pool(configuration: &str) -> TcpHost<Mongo> {
    TcpHost::configure_in(configuration, |world| {
        world.add_endpoint("db", PRIMARY);
        world.add_endpoint("db", SECONDARY);
    })
    .unwrap_or_else(|error| panic!("{configuration}: {error}"))
}

fn hello(server: &str) -> Document {
    doc! {
        "isWritablePrimary": server == PRIMARY, "secondary": server != PRIMARY, "setName": "rs", "maxWireVersion": 21, "minWireVersion": 0,
        "logicalSessionTimeoutMinutes": 30, "ok": 1.0,
    }
}

/// The number and the document of a message.
fn read(bytes: &[u8]) -> (i32, Document) {
    let number = i32::from_le_bytes(bytes[4..8].try_into().unwrap());
    (number, Document::from_reader(wire::document(bytes).unwrap()).unwrap())
}

/// A new connection of the pool, without a credential.
fn opened(host: &TcpHost<Mongo>, server: &str) {
    opened_as(host, "db", server, &hello(server));
}

/// The same in any cluster, of a server that says this of itself.
fn opened_as(host: &TcpHost<Mongo>, cluster: &str, server: &str, hello: &Document) {
    let fresh = host.open(cluster, server, b"", "");
    let (number, asked) = read(&host.written(Upstream, fresh));
    assert_eq!(asked.keys().next().unwrap(), "hello");
    host.send(Upstream, fresh, &reply(number, hello), false);
    assert_eq!(host.verdict(fresh), Some(Ok(())));
    host.finish(fresh);
}

/// A pool that knows both servers.
fn known() -> TcpHost<Mongo> {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    opened(&host, PRIMARY);
    opened(&host, SECONDARY);
    host
}

fn last(host: &TcpHost<Mongo>, client: u32) -> LeaseRecord {
    host.leases(client).pop().unwrap()
}

fn states(host: &TcpHost<Mongo>, client: u32) -> Vec<LeaseState> {
    host.leases(client).into_iter().map(|lease| lease.state).collect()
}

/// Nothing is lent to it, whatever it asks for.
fn refuse_all(host: &TcpHost<Mongo>, client: u32) {
    while host.leases(client).last().is_some_and(|lease| lease.state == LeaseState::Asked) {
        host.refuse(client, fyke_sdk::lease::Reason::Connect, "");
    }
}

fn role(role: &str) -> Option<(String, String)> {
    Some(("role".to_owned(), role.to_owned()))
}

fn find(number: i32) -> Vec<u8> {
    command(number, &doc! { "find": "users", "filter": {}, "$db": "shop" })
}

fn found(number: i32, cursor: i64) -> Vec<u8> {
    reply(number, &doc! { "cursor": { "firstBatch": [{ "a": 1 }], "id": cursor, "ns": "shop.users" }, "ok": 1.0 })
}

/// The error that the client was told in the server's place.
#[track_caller]
fn told(host: &TcpHost<Mongo>, client: u32) -> (i32, Vec<String>) {
    let (_, document) = read(&host.written(Downstream, client));
    let labels = document.get_array("errorLabels").cloned().unwrap_or_default();
    let labels = labels.iter().map(|label| label.as_str().unwrap().to_owned()).collect();
    (document.get_i32("code").unwrap(), labels)
}

/// One exchange with the server that the filter asks for.
#[track_caller]
fn exchange(host: &TcpHost<Mongo>, client: u32, server: &str, request: &[u8], answer: &[u8]) {
    host.send(Downstream, client, request, false);
    served(host, client, server, request, answer);
}

/// The same, once it is asked for.
#[track_caller]
fn served(host: &TcpHost<Mongo>, client: u32, server: &str, request: &[u8], answer: &[u8]) {
    host.lend(client, server);
    assert_eq!(host.take(Downstream, client), request);
    host.send(Upstream, client, answer, false);
    assert_eq!(host.take(Upstream, client), answer);
    assert_eq!(last(host, client).state, LeaseState::Released);
}

#[test]
fn the_first_greeting_waits_for_a_server_and_no_longer_than_there_may_be_one() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    let greeting = command(1, &doc! { "hello": 1, "$db": "admin" });
    let (first, _) = host.connect();
    host.send(Downstream, first, &[greeting.clone(), find(2)].concat(), false);
    assert!(host.written(Downstream, first).is_empty(), "nobody knows what is behind the pool");
    assert_eq!(last(&host, first).endpoint, PRIMARY);
    // A standalone, which has no retryable writes.
    let standalone = doc! { "isWritablePrimary": true, "maxWireVersion": 21, "minWireVersion": 0, "logicalSessionTimeoutMinutes": 30, "ok": 1.0 };
    opened_as(&host, "db", PRIMARY, &standalone);
    host.lend(first, PRIMARY);
    assert_eq!(host.leases(first)[0].state, LeaseState::Released);
    let (_, told) = read(&host.written(Downstream, first));
    assert!(told.get_bool("isWritablePrimary").unwrap());
    assert!(!told.contains_key("logicalSessionTimeoutMinutes"), "{told}");
    // The request behind it had waited, and asks for a connection of its own.
    assert_eq!(states(&host, first), [LeaseState::Released, LeaseState::Asked]);
    assert_eq!(count("mongo_operations_total{db=admin,cmd=hello}"), 1);
    // Whoever comes later is told at once.
    let (later, _) = host.connect();
    host.send(Downstream, later, &greeting, false);
    assert!(host.leases(later).is_empty() && !host.written(Downstream, later).is_empty());
}

#[test]
fn where_no_server_can_be_heard_a_greeting_is_answered_all_the_same() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    let greeting = command(1, &doc! { "hello": 1, "$db": "admin" });
    let (client, _) = host.connect();
    host.send(Downstream, client, &greeting, false);
    refuse_all(&host, client);
    assert!(read(&host.written(Downstream, client)).1.get_bool("isWritablePrimary").unwrap());
    let asked = host.leases(client).len();
    host.send(Downstream, client, &greeting, false);
    assert!(!host.written(Downstream, client).is_empty());
    assert_eq!(host.leases(client).len(), asked, "not twice for one client");
}

#[test]
fn a_greeting_is_answered_here_and_a_query_borrows() {
    let host = known();
    let (client, _) = host.connect();
    host.send(Downstream, client, &command(1, &doc! { "hello": 1, "loadBalanced": true, "$db": "admin" }), false);
    let answer = host.written(Downstream, client);
    let (_, document) = read(&answer);
    assert_eq!(answer[8..12], 1_i32.to_le_bytes());
    assert_eq!(
        (document.get_bool("isWritablePrimary").unwrap(), document.get_i32("maxWireVersion").unwrap()),
        (true, 21)
    );
    assert!(document.contains_key("serviceId") && !document.contains_key("compression"));
    assert!(host.leases(client).is_empty());
    host.send(Downstream, client, &find(2), false);
    let (lent, waiting) = (|| count("mongo_pool_lent"), || count("mongo_pool_waiting"));
    assert_eq!((lent(), waiting(), count("mongo_op_query_active")), (0, 1, 1));
    host.lend(client, PRIMARY);
    assert_eq!((host.take(Downstream, client), lent(), waiting()), (find(2), 1, 0));
    host.send(Upstream, client, &found(2, 0), false);
    assert_eq!((host.take(Upstream, client), lent(), waiting()), (found(2, 0), 0, 0));
    let lease = last(&host, client);
    assert_eq!((lease.cluster.as_str(), lease.label, lease.share.as_str()), ("db", role("primary"), ""));
    // Both are counted as anything else is.
    assert_eq!(count("mongo_operations_total{db=admin,cmd=hello}"), 1);
    assert_eq!(count("mongo_operations_total{db=shop,cmd=find,collection=users}"), 1);
    assert_eq!(count("mongo_op_reply_total{}"), 2);
    assert_eq!(count("mongo_op_query_active"), 0);
    assert_eq!(count(&format!("mongo_pool_checkouts_total{{server={PRIMARY},reused=false}}")), 1);
    host.close(Downstream, client);
    host.finish(client);
    assert_eq!(host.connections(), 0);
}

#[test]
fn a_legacy_greeting_is_answered_in_its_own_form() {
    let host = known();
    let (client, _) = host.connect();
    let mut body = vec![0; 4];
    body.extend(b"admin.$cmd\0\0\0\0\0\xff\xff\xff\xff");
    body.extend(doc! { "isMaster": 1, "helloOk": true }.to_vec().unwrap());
    let request = message(7, 0, opcode::QUERY, &body);
    host.send(Downstream, client, &request, false);
    let answer = host.written(Downstream, client);
    assert_eq!((&answer[8..12], &answer[12..16]), (&7_i32.to_le_bytes()[..], &1_i32.to_le_bytes()[..]));
    let document = Document::from_reader(&answer[36..]).unwrap();
    assert_eq!((document.get_bool("ismaster").unwrap(), document.get_str("msg").unwrap()), (true, "isdbgrid"));
}

#[test]
fn requests_that_arrive_together_are_exchanges_one_after_the_other() {
    let host = known();
    let (client, _) = host.connect();
    let ping = command(1, &doc! { "ping": 1, "$db": "admin" });
    let hello = command(2, &doc! { "hello": 1, "$db": "admin" });
    host.send(Downstream, client, &[&ping[..], &hello, &find(3)].concat(), false);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), ping);
    assert!(host.written(Downstream, client).is_empty());
    let pong = reply(1, &doc! { "ok": 1.0 });
    host.send(Upstream, client, &pong, false);
    assert_eq!(host.take(Upstream, client), pong);
    assert!(read(&host.written(Downstream, client)).1.get_bool("isWritablePrimary").unwrap());
    assert_eq!(states(&host, client), [LeaseState::Released, LeaseState::Asked]);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), find(3));
    host.send(Upstream, client, &found(3, 0), false);
    assert_eq!(host.take(Upstream, client), found(3, 0));
    assert_eq!(states(&host, client), [LeaseState::Released, LeaseState::Released]);
}

#[test]
fn a_cursor_stays_with_its_server_whoever_asks() {
    let host = known();
    let (one, _) = host.connect();
    let mut secondary = doc! { "find": "users", "filter": {}, "$db": "shop" };
    secondary.insert("$readPreference", doc! { "mode": "secondary" });
    exchange(&host, one, SECONDARY, &command(1, &secondary), &found(1, 77));
    assert_eq!(last(&host, one).label, role("secondary"));
    let (other, _) = host.connect();
    let more = command(1, &doc! { "getMore": 77_i64, "collection": "users", "$db": "shop" });
    let end = reply(1, &doc! { "cursor": { "nextBatch": [], "id": 0_i64, "ns": "shop.users" }, "ok": 1.0 });
    exchange(&host, other, SECONDARY, &more, &end);
    assert_eq!((last(&host, other).endpoint.as_str(), last(&host, other).label), (SECONDARY, None));
    assert_eq!(count("mongo_pool_pinned_total{reason=cursor}"), 1);
    // It is exhausted: nobody has it.
    host.send(Downstream, other, &more, false);
    assert_eq!((last(&host, other).endpoint.as_str(), last(&host, other).label), ("", role("primary")));
}

fn in_transaction(mut document: Document, starts: bool) -> Vec<u8> {
    let id = Binary { subtype: BinarySubtype::Uuid, bytes: vec![9; 16] };
    document.extend(doc! { "lsid": { "id": id }, "txnNumber": 5_i64, "autocommit": false, "$db": "shop" });
    if starts {
        document.insert("startTransaction", true);
    }
    command(1, &document)
}

#[test]
fn a_transaction_stays_with_its_server_to_the_commit() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    // Two mongos: any would do.
    let mongos = doc! { "isWritablePrimary": true, "msg": "isdbgrid", "maxWireVersion": 21, "ok": 1.0 };
    opened_as(&host, "db", PRIMARY, &mongos);
    opened_as(&host, "db", SECONDARY, &mongos);
    let ok = reply(1, &doc! { "n": 1, "ok": 1.0 });
    let (client, _) = host.connect();
    exchange(&host, client, SECONDARY, &in_transaction(doc! { "insert": "users" }, true), &ok);
    assert_eq!((last(&host, client).endpoint.as_str(), last(&host, client).label), ("", None));
    let (other, _) = host.connect();
    exchange(&host, other, SECONDARY, &in_transaction(doc! { "update": "users" }, false), &ok);
    assert_eq!(last(&host, other).endpoint, SECONDARY);
    exchange(&host, client, SECONDARY, &in_transaction(doc! { "commitTransaction": 1 }, false), &ok);
    assert_eq!(last(&host, client).endpoint, SECONDARY);
    assert_eq!(count("mongo_pool_pinned_total{reason=transaction}"), 2);
}

#[test]
fn exhaust_holds_the_connection_to_its_last_reply() {
    let host = known();
    let (client, _) = host.connect();
    let request = message(
        1,
        0,
        opcode::MSG,
        &msg_body(
            1 << 16,
            &[Section::Body(doc! { "find": "log", "tailable": true, "awaitData": true, "$db": "shop" })],
        ),
    );
    host.send(Downstream, client, &request, false);
    assert_eq!(last(&host, client).share, "long-lived");
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), request);
    let batch = |number: i32, answers: i32, flags: u32| {
        let document = doc! { "cursor": { "nextBatch": [], "id": 4_i64, "ns": "shop.log" }, "ok": 1.0 };
        message(number, answers, opcode::MSG, &msg_body(flags, &[Section::Body(document)]))
    };
    for (number, answers) in [(100, 1), (101, 100)] {
        host.send(Upstream, client, &batch(number, answers, 2), false);
        assert_eq!(host.take(Upstream, client), batch(number, answers, 2));
        assert_eq!(last(&host, client).state, LeaseState::Lent);
    }
    // Two in one piece.
    let rest = [batch(102, 101, 2), batch(103, 102, 0)].concat();
    host.send(Upstream, client, &rest, false);
    assert_eq!((host.take(Upstream, client), last(&host, client).state), (rest, LeaseState::Released));
}

#[test]
fn a_request_that_wants_no_reply_frees_its_connection_with_its_last_byte() {
    let host = known();
    let (client, _) = host.connect();
    let body = msg_body(2, &[Section::Body(doc! { "insert": "users", "$db": "shop", "x": "y".repeat(300) })]);
    let request = message(1, 0, opcode::MSG, &body);
    let (head, tail) = request.split_at(request.len() - 10);
    host.send(Downstream, client, head, false);
    // What it is is not known before its end.
    assert!(host.leases(client).is_empty());
    host.send(Downstream, client, &[tail, &find(2)].concat(), false);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), request);
    assert_eq!(states(&host, client), [LeaseState::Released, LeaseState::Asked]);
}

#[test]
fn a_long_request_passes_while_it_arrives() {
    let host = known();
    let (client, _) = host.connect();
    let documents: Vec<Document> = (0..2000).map(|number| doc! { "_id": number, "x": "y".repeat(100) }).collect();
    let sections =
        [Section::Body(doc! { "insert": "users", "$db": "shop" }), Section::Sequence("documents", documents)];
    let request = message(1, 0, opcode::MSG, &msg_body(0, &sections));
    let mut pieces = request.chunks(10_000);
    host.send(Downstream, client, pieces.next().unwrap(), false);
    host.lend(client, PRIMARY);
    for piece in pieces {
        host.send(Downstream, client, piece, false);
    }
    assert_eq!(host.take(Downstream, client), request);
    let ok = reply(1, &doc! { "n": 2000, "ok": 1.0 });
    host.send(Upstream, client, &ok, false);
    assert_eq!((host.take(Upstream, client), last(&host, client).state), (ok, LeaseState::Released));
    exchange(&host, client, PRIMARY, &find(2), &found(2, 0));
}
