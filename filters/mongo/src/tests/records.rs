//! The log of operations.

use std::time::Duration;

use bson::doc;

use super::*;

fn records() -> Vec<serde_json::Value> {
    World::with(|world| {
        world
            .sinks
            .iter()
            .flat_map(|(_, records)| records)
            .map(|record| serde_json::from_str(record).unwrap())
            .collect()
    })
}

/// A find that takes 20 ms and its reply.
fn one(host: &mut TcpTestHost<Mongo>, connection: &Connection, number: i32, ok: i32) {
    let find = doc! { "find": "c", "filter": { "name": "secret", "tags": { "$in": ["x", 2.5, true] } }, "comment": r#"{"callingFunction":"f"}"#, "$db": "d" };
    host.client_sends(connection, command(number, &find));
    host.advance(Duration::from_millis(20));
    host.upstream_sends(
        connection,
        reply(
            number,
            &doc! { "ok": ok, "code": 50, "codeName": "MaxTimeMSExpired", "errorLabels": ["RetryableError"] },
        ),
    );
}

#[test]
fn a_record_says_everything_but_values() {
    let mut host = host("{ log: {}, slow: 20ms }");
    let connection = host.connect();
    one(&mut host, &connection, 7, 0);
    let record = records().remove(0);
    let expected = serde_json::json!({
        "mongo_prefix": "mongo", "client": "127.0.0.1:40000", "request_id": 7, "db": "d", "command": "find", "collection": "c", "callsite": "f",
        "outcome": "error", "duration_us": 20_000, "documents": 0, "slow": true, "code": 50, "code_name": "MaxTimeMSExpired",
        "error_labels": ["RetryableError"],
        "statement": { "find": "?", "filter": { "name": "?", "tags": { "$in": ["?", "?", "?"] } }, "comment": "?", "$db": "?" },
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(record.get(key), Some(value), "{key}: {record}");
    }
    assert!(record["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(count("mongo_slow_operations_total{db=d,cmd=find,collection=c,callsite=f}"), 1);
    host.close(connection);
}

#[test]
fn values_are_there_where_the_configuration_says_so_but_never_credentials() {
    let mut host = host("log: { redact: false }");
    let connection = host.connect();
    one(&mut host, &connection, 1, 1);
    host.client_sends(&connection, command(2, &doc! { "saslStart": 1, "payload": "password", "$db": "admin" }));
    host.upstream_sends(&connection, reply(2, &doc! { "ok": 1 }));
    let insert =
        msg_body(2, &[Section::Body(doc! { "insert": "c", "documents": [{ "n": "x".repeat(3000) }], "$db": "d" })]);
    host.client_sends(&connection, message(3, 0, opcode::MSG, &insert));
    let records = records();
    assert_eq!(records[0]["statement"]["filter"]["name"], "secret");
    assert_eq!(records[0]["statement"]["filter"]["tags"]["$in"], serde_json::json!(["x", 2.5, true]));
    assert_eq!((&records[1]["command"], records[1].get("statement")), (&serde_json::json!("saslStart"), None));
    assert_eq!(records[2]["outcome"], "unanswered");
    // It was cut, and is JSON all the same.
    assert_eq!(records[2]["statement"]["insert"], "c");
    assert_eq!(records[2]["statement"]["…"], "…", "{}", records[2]);
    host.close(connection);
}

#[test]
fn without_a_log_slow_operations_are_written_down_and_no_others() {
    let mut host = host("slow: 15ms");
    let connection = host.connect();
    exchange(&mut host, &connection, &command(1, &doc! { "ping": 1, "$db": "d" }), &reply(1, &doc! { "ok": 0 }));
    assert_eq!(records().len(), 0);
    one(&mut host, &connection, 2, 1);
    assert_eq!(records().len(), 1);
    host.close(connection);
}

#[test]
fn a_sample_leaves_out_what_is_ordinary() {
    let mut host = host("log: { sample: 0%, statement: 0B }");
    let connection = host.connect();
    one(&mut host, &connection, 1, 1);
    one(&mut host, &connection, 2, 0);
    let records = records();
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["request_id"], records[0].get("statement")), (&serde_json::json!(2), None));
    host.close(connection);
}
