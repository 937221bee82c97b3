//! OP_MSG in all its forms, and which reply belongs to which request.

use bson::doc;

use super::*;

#[test]
fn sections_come_in_any_order_and_with_a_checksum() {
    let body = Section::Body(doc! { "insert": "c", "$db": "d" });
    let documents = Section::Sequence("documents", vec![doc! { "a": "x".repeat(9000) }, doc! { "b": 1 }]);
    let empty = Section::Sequence("other", vec![]);
    for sections in [
        vec![body.clone(), documents.clone(), empty.clone()],
        vec![documents.clone(), body.clone()],
        vec![empty.clone(), documents, body.clone(), empty],
        vec![body],
    ] {
        for flags in [0, 1, 1 << 16, 1 << 31 | 1] {
            let mut host = host("");
            let connection = host.connect();
            let insert = message(1, 0, opcode::MSG, &msg_body(flags, &sections));
            exchange(&mut host, &connection, &insert, &reply(1, &doc! { "ok": 1, "n": 2 }));
            assert_eq!(count("mongo_operations_total{db=d,cmd=insert,collection=c}"), 1, "{flags}");
            assert_eq!(count("mongo.mongo.decoding_error"), 0);
            assert_eq!(count("mongo.mongo.cmd.insert.reply_num_docs"), 0);
            host.close(connection);
        }
    }
}

#[test]
fn what_comes_after_large_fields_is_found_and_the_fields_are_not_read() {
    let mut host = host("");
    let connection = host.connect();
    let many: Vec<i32> = (0..100_000).collect();
    let find = doc! { "find": "c", "filter": { "x": { "$in": many }, "_id": 4 }, "lsid": { "id": 1 }, "comment": r#"{"callingFunction":"late"}"#, "$db": "d" };
    for piece in command(1, &find).chunks(10_000) {
        host.client_sends(&connection, piece);
    }
    assert_eq!(count("mongo_operations_total{db=d,cmd=find,collection=c,callsite=late}"), 1, "{:#?}", metrics());
    assert_eq!(count("mongo.mongo.op_query_scatter_get"), 0);
    host.close(connection);
}

#[test]
fn batches_that_are_too_long_are_estimated() {
    let mut host = host("");
    let connection = host.connect();
    host.client_sends(&connection, command(1, &doc! { "find": "c", "$db": "d" }));
    let batch: Vec<Document> = (0..20_000).map(|number| doc! { "n": number, "text": "abcdef" }).collect();
    let answer = reply(1, &doc! { "cursor": { "firstBatch": batch, "id": 77_i64, "ns": "d.c" }, "ok": 1 });
    for piece in answer.chunks(16 << 10) {
        host.upstream_sends(&connection, piece);
    }
    let documents = count("mongo_reply_num_docs{db=d,cmd=find,collection=c}");
    assert!((19_000..21_000).contains(&documents), "{documents}");
    assert_eq!(count("mongo.mongo.op_reply_valid_cursor"), 1);
    host.close(connection);
}

#[test]
fn requests_with_more_to_come_wait_for_nothing() {
    let mut host = host("");
    let connection = host.connect();
    let insert = msg_body(2, &[Section::Body(doc! { "insert": "c", "$db": "d" })]);
    host.client_sends(&connection, message(1, 0, opcode::MSG, &insert));
    assert_eq!(count("mongo.mongo.op_query_active"), 0);
    assert_eq!(count("mongo.mongo.cmd.insert.total"), 1);
    host.close(connection);
}

#[test]
fn exhaust_replies_are_a_chain() {
    let mut host = host("");
    let connection = host.connect();
    let more = msg_body(1 << 16, &[Section::Body(doc! { "getMore": 8_i64, "collection": "c", "$db": "d" })]);
    host.client_sends(&connection, message(1, 0, opcode::MSG, &more));
    let batch = |id: i64| doc! { "cursor": { "nextBatch": [{}, {}], "id": id }, "ok": 1 };
    for (number, answers, flags, id) in [(100, 1, 2, 8), (101, 100, 2, 8), (102, 101, 0, 0)] {
        assert_eq!(count("mongo.mongo.op_query_active"), 1);
        let body = msg_body(flags, &[Section::Body(batch(id))]);
        host.upstream_sends(&connection, message(number, answers, opcode::MSG, &body));
    }
    assert_eq!(count("mongo.mongo.op_query_active"), 0);
    assert_eq!(metrics()["mongo_reply_num_docs{db=d,cmd=getMore,collection=c}"], [2, 2, 2]);
    host.close(connection);
}

#[test]
fn replies_in_another_order_find_their_requests() {
    let mut host = host("");
    let connection = host.connect();
    for number in 0..5 {
        host.client_sends(&connection, command(number, &doc! { "count": format!("c{number}"), "$db": "d" }));
    }
    for number in [3, 0, 9, 4, 1, 2] {
        host.upstream_sends(&connection, reply(number, &doc! { "ok": number % 2, "code": number }));
    }
    for number in 0..5 {
        let failed = count(&format!("mongo_errors_total{{db=d,cmd=count,collection=c{number},code={number}}}"));
        assert_eq!(failed, i64::from(number % 2 == 0), "{number}");
    }
    assert_eq!(count("mongo.mongo.op_reply"), 6);
    assert_eq!(count("mongo.mongo.op_query_active"), 0);
    host.close(connection);
}

#[test]
fn the_oldest_of_too_many_operations_is_forgotten() {
    let mut host = host("in_flight: 3");
    let connection = host.connect();
    for number in 0..10 {
        host.client_sends(&connection, command(number, &doc! { "ping": 1, "$db": "d" }));
    }
    assert_eq!(count("mongo.mongo.op_query_active"), 3);
    assert_eq!(count("mongo_forgotten_total{what=operation}"), 7);
    host.upstream_sends(&connection, reply(0, &doc! { "ok": 1 }));
    host.upstream_sends(&connection, reply(9, &doc! { "ok": 1 }));
    assert_eq!(count("mongo.mongo.op_query_active"), 2);
    host.close(connection);
    assert_eq!(count("mongo.mongo.op_query_active"), 0);
}

#[test]
fn filters_behind_are_told_what_the_client_does() {
    let mut host = host("metadata: true");
    let connection = host.connect();
    let both = [
        command(1, &doc! { "insert": "c", "$db": "d" }),
        command(2, &doc! { "find": "c", "$db": "d" }),
        command(3, &doc! { "drop": "e", "$db": "d" }),
    ];
    host.client_sends(&connection, both.concat());
    let told = World::with(|world| {
        world.streams.values().find_map(|stream| stream.properties.get("mongo.operations").cloned())
    });
    assert_eq!(String::from_utf8(told.unwrap()).unwrap(), r#"{"d.c":["insert","find"],"d.e":["drop"]}"#);
    host.close(connection);
}
