//! Messages of old drivers.

use bson::doc;

use super::*;

fn query(request_id: i32, flags: u32, namespace: &str, document: &Document) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend(namespace.as_bytes());
    body.extend([0; 9]);
    body.extend(document.to_vec().unwrap());
    message(request_id, 0, opcode::QUERY, &body)
}

fn answer(response_to: i32, flags: u32, cursor: i64, documents: &[Document]) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend(cursor.to_le_bytes());
    body.extend([0; 4]);
    body.extend(i32::try_from(documents.len()).unwrap().to_le_bytes());
    body.extend(documents.iter().flat_map(|document| document.to_vec().unwrap()));
    message(response_to + 10_000, response_to, opcode::REPLY, &body)
}

/// Zero, a namespace, and the rest.
fn about(opcode: i32, namespace: &str, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(namespace.as_bytes());
    body.push(0);
    body.extend(rest);
    message(9, 0, opcode, &body)
}

#[test]
fn a_query_is_counted_as_envoy_counts_it() {
    let mut host = host("");
    let connection = host.connect();
    let wrapped =
        doc! { "$query": { "_id": { "$in": [1] } }, "$comment": r#"{"callingFunction":"old"}"#, "$maxTimeMS": 7 };
    exchange(
        &mut host,
        &connection,
        &query(1, 0b101_0010 | 1 << 5, "d.c.e", &wrapped),
        &answer(1, 0, 9, &[doc! {}, doc! { "a": 1 }]),
    );
    exchange(
        &mut host,
        &connection,
        &query(2, 0, "d.c.e", &doc! { "_id": 3 }),
        &answer(2, 2, 0, &[doc! { "$err": "no", "code": 5 }]),
    );
    for (name, expected) in [
        ("mongo.mongo.op_query", 2),
        ("mongo.mongo.op_query_tailable_cursor", 1),
        ("mongo.mongo.op_query_no_cursor_timeout", 1),
        ("mongo.mongo.op_query_await_data", 1),
        ("mongo.mongo.op_query_exhaust", 1),
        ("mongo.mongo.op_query_no_max_time", 1),
        ("mongo.mongo.op_query_multi_get", 1),
        ("mongo.mongo.op_query_scatter_get", 0),
        ("mongo.mongo.op_reply", 2),
        ("mongo.mongo.op_reply_valid_cursor", 1),
        ("mongo.mongo.op_reply_query_failure", 1),
        ("mongo.mongo.collection.c.e.query.total", 2),
        ("mongo.mongo.collection.c.e.query.multi_get", 1),
        ("mongo.mongo.collection.c.e.query.reply_num_docs", 3),
        ("mongo.mongo.collection.c.e.callsite.old.query.total", 1),
        ("mongo_operations_total{db=d,cmd=find,collection=c.e,callsite=old}", 1),
        ("mongo_errors_total{db=d,cmd=find,collection=c.e,code=5}", 1),
        ("mongo.mongo.op_query_active", 0),
    ] {
        assert_eq!(count(name), expected, "{name}: {:#?}", metrics());
    }
    host.close(connection);
}

#[test]
fn commands_in_queries_are_commands() {
    let mut host = host("");
    let connection = host.connect();
    let is_master = doc! { "isMaster": 1, "client": { "application": { "name": "old" } } };
    exchange(&mut host, &connection, &query(1, 0, "admin.$cmd", &is_master), &answer(1, 0, 0, &[doc! { "ok": 1 }]));
    let wrapped = doc! { "$query": { "insert": "c", "documents": [{}] }, "$readPreference": { "mode": "primary" } };
    exchange(
        &mut host,
        &connection,
        &query(2, 0, "d.$cmd", &wrapped),
        &answer(2, 0, 0, &[doc! { "ok": 0, "code": 13 }]),
    );
    let find = doc! { "find": "c", "filter": {} };
    exchange(
        &mut host,
        &connection,
        &query(3, 0, "d.$cmd", &find),
        &answer(3, 0, 0, &[doc! { "ok": 1, "cursor": { "firstBatch": [{}, {}] } }]),
    );
    assert_eq!(count("mongo.mongo.op_query"), 3);
    assert_eq!(count("mongo.mongo.cmd.insert.total"), 1);
    assert_eq!(count("mongo_errors_total{db=d,cmd=insert,collection=c,app=old,code=13}"), 1, "{:#?}", metrics());
    assert_eq!(count("mongo.mongo.collection.c.query.total"), 1);
    assert_eq!(count("mongo.mongo.collection.c.query.scatter_get"), 1);
    assert_eq!(count("mongo.mongo.collection.c.query.reply_num_docs"), 2);
    host.close(connection);
}

#[test]
fn the_other_kinds_are_counted_and_wait_for_nothing() {
    let mut host = host("");
    let connection = host.connect();
    let document = doc! { "a": 1 }.to_vec().unwrap();
    let mut cursors = vec![0; 4];
    cursors.extend(2_i32.to_le_bytes());
    cursors.extend([0; 16]);
    let mut more = vec![0; 4];
    more.extend(5_i64.to_le_bytes());
    for (bytes, name, command) in [
        (about(opcode::INSERT, "d.c", &document), "op_insert", "insert"),
        (about(opcode::UPDATE, "d.c", &[&[0; 4], document.as_slice(), &document].concat()), "op_update", "update"),
        (about(opcode::DELETE, "d.c", &[&[0; 4], document.as_slice()].concat()), "op_delete", "delete"),
        (message(3, 0, opcode::KILL_CURSORS, &cursors), "op_kill_cursors", "killCursors"),
        (about(opcode::COMMAND, "d", &[]), "op_command", "unknown_command"),
    ] {
        host.client_sends(&connection, &bytes);
        assert_eq!(count(&format!("mongo.mongo.{name}")), 1, "{name}");
        assert!(metrics().keys().any(|key| key.starts_with("mongo_operations") && key.contains(command)), "{command}");
    }
    assert_eq!(count("mongo_operations_total{db=d,cmd=insert,collection=c}"), 1);
    host.client_sends(&connection, message(4, 0, opcode::COMMAND_REPLY, &[]));
    assert_eq!(count("mongo.mongo.op_command_reply"), 1);
    let waiting = count("mongo.mongo.op_query_active");
    exchange(&mut host, &connection, &about(opcode::GET_MORE, "d.c", &more), &answer(9, 1, 0, &[]));
    assert_eq!(count("mongo.mongo.op_get_more"), 1);
    assert_eq!(count("mongo.mongo.op_reply_cursor_not_found"), 1);
    assert_eq!((waiting, count("mongo.mongo.op_query_active")), (0, 0));
    assert_eq!(count("mongo.mongo.decoding_error"), 0);
    host.close(connection);
}

#[test]
fn refused_ones_are_answered_in_their_own_kind() {
    let mut host = host("{ otherwise: deny }");
    let connection = host.connect();
    host.client_sends(&connection, query(1, 0, "d.c", &doc! {}));
    host.client_sends(&connection, query(2, 0, "d.$cmd", &doc! { "count": "c" }));
    host.client_sends(&connection, about(opcode::INSERT, "d.c", &doc! {}.to_vec().unwrap()));
    assert_eq!(host.upstream_got(&connection), b"");
    let got = host.client_got(&connection);
    let bytes = got.bytes();
    let length = usize::try_from(i32::from_le_bytes(bytes[..4].try_into().unwrap())).unwrap();
    let (first, second) = bytes.split_at(length);
    assert_eq!(i32::from_le_bytes(second[..4].try_into().unwrap()), i32::try_from(second.len()).unwrap());
    for (reply, flags, number) in [(first, 2, 1), (second, 0, 2)] {
        assert_eq!(reply[8..16], [[number, 0, 0, 0], [1, 0, 0, 0]].concat());
        assert_eq!(reply[16], flags);
        assert_eq!(reply[32..36], [1, 0, 0, 0]);
        let document = Document::from_reader(&reply[36..]).unwrap();
        assert_eq!(document.get_i32("code").unwrap(), 13);
        assert_eq!(document.contains_key("$err"), flags == 2);
    }
    assert_eq!(count("mongo_refused_total{cmd=insert,reason=rule,name=otherwise}"), 1);
    host.close(connection);
}
