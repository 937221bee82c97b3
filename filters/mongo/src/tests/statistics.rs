//! What is counted, in both forms.

use std::time::Duration;

use bson::doc;

use super::*;

#[test]
fn a_find_and_its_reply_are_counted_by_collection_and_call_site() {
    let mut host = host("");
    let connection = host.connect();
    let find = doc! { "find": "users", "filter": { "name": "x" }, "comment": r#"{"callingFunction":"loadUser"}"#, "$db": "shop" };
    host.client_sends(&connection, command(7, &find));
    assert_eq!(count("mongo.mongo.op_query_active"), 1);
    host.advance(Duration::from_millis(30));
    let answer = reply(
        7,
        &doc! { "cursor": { "firstBatch": [{ "a": 1 }, { "a": 2 }], "id": 5_i64, "ns": "shop.users" }, "ok": 1.0 },
    );
    host.upstream_sends(&connection, &answer);
    let size = i64::try_from(answer.len()).unwrap();
    let labels = "{db=shop,cmd=find,collection=users,callsite=loadUser}";
    for (name, expected) in [
        ("mongo_op_msg_total{}", 1),
        ("mongo.mongo.op_msg", 1),
        ("mongo.mongo.op_reply", 1),
        ("mongo.mongo.op_reply_valid_cursor", 1),
        ("mongo_op_reply_valid_cursor_total{}", 1),
        ("mongo.mongo.op_query_no_max_time", 1),
        ("mongo.mongo.op_query_scatter_get", 1),
        ("mongo.mongo.op_query_multi_get", 0),
        ("mongo.mongo.op_query_active", 0),
        ("mongo_op_query_active", 0),
        ("mongo.mongo.collection.users.query.total", 1),
        ("mongo.mongo.collection.users.query.scatter_get", 1),
        ("mongo.mongo.collection.users.query.reply_num_docs", 2),
        ("mongo.mongo.collection.users.query.reply_size", size),
        ("mongo.mongo.collection.users.query.reply_time_ms", 30),
        ("mongo.mongo.collection.users.callsite.loadUser.query.total", 1),
        ("mongo.mongo.collection.users.callsite.loadUser.query.scatter_get", 1),
        ("mongo.mongo.collection.users.callsite.loadUser.query.reply_num_docs", 2),
        ("mongo.mongo.collection.users.callsite.loadUser.query.reply_time_ms", 30),
        ("mongo.mongo.cmd.unknown_command.total", 0),
        (&format!("mongo_operations_total{labels}"), 1),
        (&format!("mongo_query_scatter_get_total{labels}"), 1),
        (&format!("mongo_reply_num_docs{labels}"), 2),
        (&format!("mongo_reply_size_bytes{labels}"), size),
        (&format!("mongo_reply_time_microseconds{labels}"), 30_000),
        (&format!("mongo_request_bytes_total{labels}"), i64::try_from(command(7, &find).len()).unwrap()),
    ] {
        assert_eq!(count(name), expected, "{name}: {:#?}", metrics());
    }
    host.close(connection);
}

#[test]
fn commands_have_names_of_their_own_where_the_configuration_says_so() {
    let mut host = host("{ stat_prefix: main, commands: [insert, findAndModify] }");
    let connection = host.connect();
    for (number, name) in ["insert", "findandmodify", "aggregate", "count", "inventedByClients"].into_iter().enumerate()
    {
        let number = i32::try_from(number).unwrap();
        exchange(
            &mut host,
            &connection,
            &command(number, &doc! { name: "c", "$db": "d" }),
            &reply(number, &doc! { "ok": 1, "n": 3 }),
        );
    }
    for (name, expected) in [
        ("mongo.main.cmd.insert.total", 1),
        ("mongo.main.cmd.findAndModify.total", 1),
        ("mongo.main.cmd.unknown_command.total", 3),
        ("mongo_operations_total{db=d,cmd=aggregate,collection=c}", 1),
        ("mongo_operations_total{db=d,cmd=findAndModify,collection=c}", 1),
        ("mongo_operations_total{db=d,cmd=unknown_command}", 1),
    ] {
        assert_eq!(count(name), expected, "{name}: {:#?}", metrics());
    }
    host.close(connection);
}

#[test]
fn how_a_find_looks_for_its_documents() {
    for (find, scatter, multi, no_max_time) in [
        (doc! { "find": "c", "filter": { "_id": 5 }, "maxTimeMS": 100 }, 0, 0, 0),
        (doc! { "find": "c", "filter": { "_id": { "$in": [1, 2] } }, "maxTimeMS": 0 }, 0, 1, 1),
        (doc! { "find": "c", "filter": { "a": 1, "_id": [1] }, "maxTimeMS": 5_i64 }, 0, 1, 0),
        (doc! { "find": "c", "filter": { "a": { "_id": 1 } } }, 1, 0, 1),
        (doc! { "find": "c", "maxTimeMS": 5.0 }, 1, 0, 0),
    ] {
        let mut host = host("");
        let connection = host.connect();
        host.client_sends(&connection, command(1, &find));
        assert_eq!(count("mongo.mongo.op_query_scatter_get"), scatter, "{find}");
        assert_eq!(count("mongo.mongo.op_query_multi_get"), multi, "{find}");
        assert_eq!(count("mongo.mongo.collection.c.query.multi_get"), multi, "{find}");
        assert_eq!(count("mongo.mongo.op_query_no_max_time"), no_max_time, "{find}");
        host.close(connection);
    }
}

#[test]
fn flags_of_queries_are_those_of_find_too() {
    let mut host = host("");
    let connection = host.connect();
    let find = doc! { "find": "c", "tailable": true, "awaitData": true, "noCursorTimeout": true, "$db": "d", "$readPreference": { "mode": "nearest" } };
    let body = msg_body(1 << 16, &[Section::Body(find)]);
    host.client_sends(&connection, message(1, 0, opcode::MSG, &body));
    for name in ["tailable_cursor", "await_data", "no_cursor_timeout", "exhaust"] {
        assert_eq!(count(&format!("mongo.mongo.op_query_{name}")), 1, "{name}");
    }
    assert_eq!(count("mongo_read_preference_total{cmd=find,read_preference=nearest}"), 1);
    host.close(connection);
}

#[test]
fn the_application_and_the_server_are_labels() {
    let mut host = host("");
    let connection = host.connect();
    let hello = doc! { "hello": 1, "helloOk": true, "client": { "driver": { "name": "x" }, "application": { "name": "web" } }, "$db": "admin" };
    World::with(|world| {
        for stream in world.streams.values_mut() {
            stream.set_property("upstream.address", "10.0.0.7:27017");
        }
    });
    exchange(&mut host, &connection, &command(1, &hello), &reply(1, &doc! { "ok": 1 }));
    exchange(&mut host, &connection, &command(2, &doc! { "drop": "c", "$db": "d" }), &reply(2, &doc! { "ok": 1 }));
    assert_eq!(count("mongo_operations_total{db=d,cmd=drop,collection=c,app=web}"), 1);
    let time = "mongo_reply_time_microseconds{db=d,cmd=drop,collection=c,app=web,server=10.0.0.7:27017}";
    assert!(metrics().contains_key(time), "{:#?}", metrics());
    host.close(connection);
}

#[test]
fn errors_are_counted_by_code_and_by_what_drivers_do_about_them() {
    let mut host = host("");
    let connection = host.connect();
    let update = |number| command(number, &doc! { "update": "c", "$db": "d" });
    let failed = doc! { "ok": 0.0, "errmsg": "no", "code": 112, "codeName": "WriteConflict", "errorLabels": ["TransientTransactionError", "Invented"] };
    exchange(&mut host, &connection, &update(1), &reply(1, &failed));
    let written = doc! { "ok": 1, "n": 0, "writeErrors": [{ "index": 0, "code": 11000, "errmsg": "dup" }, { "index": 1, "code": 1 }] };
    exchange(&mut host, &connection, &update(2), &reply(2, &written));
    let concern = doc! { "ok": 1, "writeConcernError": { "code": 64, "codeName": "WriteConcernTimeout" } };
    exchange(&mut host, &connection, &update(3), &reply(3, &concern));
    exchange(&mut host, &connection, &update(4), &reply(4, &doc! { "ok": 0, "code": 43 }));
    let errors = |code: &str| count(&format!("mongo_errors_total{{db=d,cmd=update,collection=c,code={code}}}"));
    assert_eq!(
        (errors("WriteConflict"), errors("11000"), errors("64"), errors("43")),
        (1, 1, 1, 1),
        "{:#?}",
        metrics()
    );
    assert_eq!(count("mongo_write_errors_total{db=d,cmd=update,collection=c}"), 2);
    assert_eq!(count("mongo_error_labels_total{cmd=update,error_label=TransientTransactionError}"), 1);
    assert_eq!(count("mongo.mongo.op_reply_query_failure"), 1);
    assert_eq!(count("mongo.mongo.op_reply_cursor_not_found"), 1);
    host.close(connection);
}

#[test]
fn cursors_live_from_their_first_reply_to_their_last_or_their_end() {
    let mut host = host("");
    let connection = host.connect();
    let open = |number, id: i64| {
        (
            command(number, &doc! { "find": "c", "$db": "d" }),
            reply(number, &doc! { "cursor": { "firstBatch": [], "id": id }, "ok": 1 }),
        )
    };
    for (number, id) in [(1, 50), (2, 51), (3, 52)] {
        let (request, answer) = open(number, id);
        exchange(&mut host, &connection, &request, &answer);
    }
    host.advance(Duration::from_millis(40));
    let more = command(4, &doc! { "getMore": 50_i64, "collection": "c", "$db": "d" });
    exchange(&mut host, &connection, &more, &reply(4, &doc! { "cursor": { "nextBatch": [{}], "id": 0_i64 }, "ok": 1 }));
    host.advance(Duration::from_millis(10));
    let kill = command(5, &doc! { "killCursors": "c", "cursors": [51_i64], "$db": "d" });
    exchange(&mut host, &connection, &kill, &reply(5, &doc! { "ok": 1 }));
    let gone = command(6, &doc! { "getMore": 52_i64, "collection": "c", "$db": "d" });
    exchange(&mut host, &connection, &gone, &reply(6, &doc! { "ok": 0, "code": 43, "codeName": "CursorNotFound" }));
    assert_eq!(metrics()["mongo_cursor_lifetime_milliseconds{db=d,cmd=find,collection=c}"], [40, 50, 50]);
    assert_eq!(count("mongo_operations_total{db=d,cmd=getMore,collection=c}"), 2);
    host.close(connection);
}

#[test]
fn whoever_leaves_first_is_counted_if_operations_wait() {
    for (end_of_server, name) in [(true, "local"), (false, "remote")] {
        let mut host = host("");
        let connection = host.connect();
        host.client_sends(&connection, command(1, &doc! { "ping": 1, "$db": "d" }));
        if end_of_server {
            host.upstream_ends(&connection);
        }
        host.close(connection);
        assert_eq!(count(&format!("mongo.mongo.cx_destroy_{name}_with_active_rq")), 1);
        assert_eq!(count("mongo.mongo.op_query_active"), 0);
    }
}

#[test]
fn a_bulk_write_is_counted_under_its_first_namespace() {
    let mut host = host("");
    let connection = host.connect();
    let sections = [
        Section::Body(doc! { "bulkWrite": 1, "$db": "admin" }),
        Section::Sequence("ops", (0..20).map(|number| doc! { "insert": 0, "document": { "n": number } }).collect()),
        Section::Sequence("nsInfo", vec![doc! { "ns": "shop.orders" }, doc! { "ns": "shop.items" }]),
    ];
    let bulk = message(1, 0, opcode::MSG, &msg_body(0, &sections));
    let answer = doc! { "ok": 1, "nErrors": 2, "cursor": { "id": 0_i64, "firstBatch": [{ "ok": 0 }] } };
    exchange(&mut host, &connection, &bulk, &reply(1, &answer));
    let labels = "{db=shop,cmd=bulkWrite,collection=orders}";
    assert_eq!(count(&format!("mongo_operations_total{labels}")), 1, "{:#?}", metrics());
    assert_eq!(count(&format!("mongo_write_errors_total{labels}")), 2);
    host.close(connection);
}

#[test]
fn without_envoys_names_there_are_none() {
    let mut host = host("{ envoy_stats: false, labels: { callsites: 0 } }");
    let connection = host.connect();
    let find = doc! { "find": "c", "comment": r#"{"callingFunction":"f"}"#, "$db": "d" };
    exchange(&mut host, &connection, &command(1, &find), &reply(1, &doc! { "ok": 1 }));
    assert!(World::with(|world| world.metrics.iter().all(|(_, name, _)| !name.starts_with("mongo."))));
    assert_eq!(count("mongo_operations_total{db=d,cmd=find,collection=c}"), 1);
    host.close(connection);
}
