//! With the pool.

use super::*;

const SERVER: &str = "10.0.0.1:27017";

fn pool(limits: &Value) -> TcpHost<Mongo> {
    let configuration = json!({ "pool": { "cluster": "db" }, "limits": limits });
    let host = TcpHost::configure_in(&configuration.to_string(), |world| world.add_endpoint("db", SERVER)).unwrap();
    let fresh = host.open("db", SERVER, b"", "");
    let asked = host.written(Upstream, fresh);
    let number = i32::from_le_bytes(asked[4..8].try_into().unwrap());
    let hello =
        doc! { "isWritablePrimary": true, "setName": "rs", "maxWireVersion": 21, "minWireVersion": 0, "ok": 1.0 };
    host.send(Upstream, fresh, &reply(number, &hello), false);
    host
}

#[test]
fn what_is_over_its_limit_borrows_nothing() {
    let host = pool(&json!([{ "name": "x", "limit": "1/h" }]));
    let (client, _) = host.connect();
    host.send(Downstream, client, &[find(1), find(2), command(3, &doc! { "ping": 1, "$db": "d" })].concat(), false);
    host.lend(client, SERVER);
    assert_eq!(host.take(Downstream, client), find(1));
    host.send(Upstream, client, &reply(1, &doc! { "ok": 1.0 }), false);
    assert_eq!(told(&host, client).get_i32("code").unwrap(), 462);
    // The one behind it goes on.
    assert_eq!(host.leases(client).len(), 2);
    host.lend(client, SERVER);
    assert_eq!(host.take(Downstream, client), command(3, &doc! { "ping": 1, "$db": "d" }));
    assert_eq!((outcome("x", "ok"), outcome("x", "over")), (1, 1));
}

#[test]
fn a_write_without_an_answer_is_dropped() {
    let host = pool(&json!([{ "name": "x", "match": { "commands": ["insert"] }, "limit": "1/h" }]));
    let (client, _) = host.connect();
    let insert = message(5, 0, opcode::MSG, &msg_body(2, &[Section::Body(doc! { "insert": "c", "$db": "d" })]));
    host.send(Downstream, client, &insert, false);
    host.lend(client, SERVER);
    assert_eq!(host.take(Downstream, client), insert);
    host.send(Downstream, client, &[insert, find(6)].concat(), false);
    assert!(host.written(Downstream, client).is_empty());
    host.lend(client, SERVER);
    assert_eq!(host.take(Downstream, client), find(6));
    assert_eq!(count("mongo_dropped_total{cmd=insert,reason=limit}"), 1);
}

#[test]
fn places_at_the_same_time_are_given_back_whatever_becomes_of_the_exchange() {
    let host = pool(&json!([{ "name": "x", "limit": { "concurrency": 1 } }]));
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    host.refuse(client, fyke_sdk::lease::Reason::Timeout, "");
    assert_eq!(told(&host, client).get_i32("code").unwrap(), 262);
    host.send(Downstream, client, &find(2), false);
    host.lend(client, SERVER);
    host.lose(client);
    assert_eq!(told(&host, client).get_i32("code").unwrap(), 6);
    host.send(Downstream, client, &find(3), false);
    host.lend(client, SERVER);
    host.close(Downstream, client);
    host.finish(client);
    let (other, _) = host.connect();
    host.send(Downstream, other, &find(1), false);
    assert_eq!((outcome("x", "ok"), outcome("x", "over")), (4, 0));
}

#[test]
fn who_logs_in_where_nobody_checks_it_is_nobody() {
    let host = pool(&json!([{ "name": "x", "by": ["user"], "limit": "1/h" }]));
    for (user, within) in [("CN=ann", true), ("CN=bob", false)] {
        let (client, _) = host.connect();
        let login = doc! { "authenticate": 1, "mechanism": "MONGODB-X509", "user": user, "$db": "$external" };
        host.send(Downstream, client, &command(1, &login), false);
        assert_eq!(told(&host, client).get_f64("ok").unwrap(), 1.0);
        host.send(Downstream, client, &find(2), false);
        assert_eq!(host.leases(client).len(), usize::from(within), "{user}");
    }
}
