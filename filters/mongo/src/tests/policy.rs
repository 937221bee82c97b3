//! Rules, and what those who break them get.

use bson::doc;

use super::*;

/// The replies in some bytes: the number of the request that each answers, and its document.
fn replies(mut bytes: &[u8]) -> Vec<(i32, Document)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let number = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (one, rest) = bytes.split_at(usize::try_from(number(0)).unwrap());
        assert_eq!((number(12), &one[16..21]), (opcode::MSG, &[0; 5][..]));
        all.push((number(8), Document::from_reader(&one[21..]).unwrap()));
        bytes = rest;
    }
    all
}

fn find(number: i32, database: &str, collection: &str) -> Vec<u8> {
    command(number, &doc! { "find": collection, "$db": database })
}

#[test]
fn the_first_rule_that_fits_decides_and_the_connection_goes_on() {
    let mut host = host(
        "
rules:
  - { action: allow, databases: [shop], collections: [orders, 'public*'], commands: [find, getMore] }
  - { action: deny, name: no-secrets, collections: [secrets] }
  - { action: allow, applications: ['admin*'] }
otherwise: deny
",
    );
    let connection = host.connect();
    let hello =
        |name: &str| command(1, &doc! { "hello": 1, "client": { "application": { "name": name } }, "$db": "admin" });
    let mut expected = Vec::new();
    let mut refused = Vec::new();
    for (bytes, by) in [
        (hello("web"), None),
        (find(2, "shop", "orders"), None),
        (find(3, "shop", "public_things"), None),
        (find(4, "shop", "others"), Some("otherwise")),
        (find(5, "other", "orders"), Some("otherwise")),
        (command(6, &doc! { "insert": "orders", "$db": "shop" }), Some("otherwise")),
        (find(7, "shop", "secrets"), Some("no-secrets")),
        (command(8, &doc! { "listDatabases": 1, "$db": "admin" }), Some("otherwise")),
        (command(9, &doc! { "ping": 1, "$db": "admin" }), None),
        (hello("admin-tool"), None),
        (find(10, "other", "orders"), None),
        (find(11, "other", "secrets"), Some("no-secrets")),
    ] {
        host.client_sends(&connection, &bytes);
        match by {
            None => expected.extend(&bytes),
            Some(by) => refused.push((i32::from_le_bytes(bytes[4..8].try_into().unwrap()), by)),
        }
        assert_eq!(host.upstream_got(&connection), &expected);
    }
    let got = replies(host.client_got(&connection).bytes());
    assert_eq!(got.len(), refused.len());
    for ((number, document), (expected, by)) in got.iter().zip(refused) {
        assert_eq!(*number, expected);
        assert_eq!(document.get_f64("ok").unwrap(), 0.0);
        assert_eq!((document.get_i32("code").unwrap(), document.get_str("codeName").unwrap()), (13, "Unauthorized"));
        assert!(document.get_str("errmsg").unwrap().contains(by), "{document}");
        assert!(!document.contains_key("errorLabels"));
    }
    assert_eq!(count("mongo_refused_total{cmd=find,app=web,reason=rule,name=no-secrets}"), 1);
    assert_eq!(count("mongo_operations_total{db=shop,cmd=find,collection=secrets,app=web}"), 1);
    assert_eq!(count("mongo.mongo.op_query_active"), 5);
    host.close(connection);
}

#[test]
fn a_refusal_waits_for_the_end_of_the_reply_at_hand() {
    for held in [0, 1, 20, 70_000] {
        let mut host = host("{ rules: [{ action: deny, collections: [no] }] }");
        let connection = host.connect();
        host.client_sends(&connection, find(1, "d", "yes"));
        let answer =
            reply(1, &doc! { "cursor": { "firstBatch": [{ "a": "x".repeat(100_000) }], "id": 0_i64 }, "ok": 1 });
        let next = reply(3, &doc! { "ok": 1 });
        let (front, rest) = answer.split_at(answer.len() - 1 - held);
        host.upstream_sends(&connection, front);
        host.client_sends(&connection, find(2, "d", "no"));
        assert_eq!(host.client_got(&connection), front);
        host.upstream_sends(&connection, [rest, &next].concat());
        let got = host.client_got(&connection);
        let got = got.bytes().strip_prefix(answer.as_slice()).unwrap();
        let all = replies(got);
        assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3], "{held}");
        // Between two replies nobody waits.
        host.client_sends(&connection, find(4, "d", "no"));
        assert!(host.client_got(&connection).bytes().len() > answer.len() + got.len());
        host.close(connection);
    }
}

#[test]
fn a_refused_request_is_left_out_however_it_comes_and_the_next_one_goes_on() {
    let refused = [
        command(2, &doc! { "find": "no", "filter": { "x": "y".repeat(100) }, "$db": "d" }),
        command(2, &doc! { "insert": "no", "documents": [{ "x": "y".repeat(20_000) }], "$db": "d" }),
        message(
            2,
            0,
            opcode::MSG,
            &msg_body(
                0,
                &[
                    Section::Body(doc! { "insert": "no", "$db": "d" }),
                    Section::Sequence("documents", vec![doc! { "x": "y".repeat(30_000) }; 10]),
                ],
            ),
        ),
    ];
    for no in refused {
        let (one, three) = (find(1, "d", "yes"), find(3, "d", "yes"));
        let all = [one.as_slice(), &no, &three].concat();
        for size in [1, 13, 50, 4096, all.len()] {
            if size == 1 && all.len() > 10_000 {
                continue;
            }
            let mut host = host("{ rules: [{ action: deny, collections: [no] }] }");
            let connection = host.connect();
            for piece in all.chunks(size) {
                host.client_sends(&connection, piece);
            }
            assert_eq!(host.upstream_got(&connection), &[one.as_slice(), &three].concat(), "{size}");
            assert_eq!(replies(host.client_got(&connection).bytes()).len(), 1, "{size}");
            host.close(connection);
        }
    }
}

#[test]
fn what_asks_for_no_answer_is_refused_without_one() {
    let mut host = host("{ otherwise: deny, log: {} }");
    let connection = host.connect();
    let insert = msg_body(2, &[Section::Body(doc! { "insert": "c", "$db": "d" })]);
    host.client_sends(&connection, message(1, 0, opcode::MSG, &insert));
    assert_eq!(
        (host.upstream_got(&connection), host.client_got(&connection)),
        (host.client_got(&connection), host.upstream_got(&connection))
    );
    assert_eq!(host.client_got(&connection), b"");
    assert_eq!(count("mongo_refused_total{cmd=insert,reason=rule,name=otherwise}"), 1);
    let record = World::with(|world| world.sinks[0].1[0].clone());
    assert!(record.contains(r#""outcome":"refused","reason":"rule","by":"otherwise""#), "{record}");
    host.close(connection);
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let rules = "{ rules: [{ action: deny, collections: [no] }] }";
    let far = Section::Sequence("documents", vec![doc! { "x": "y".repeat(40_000) }; 4]);
    let body = |name: &str| Section::Body(doc! { name: "yes", "$db": "d" });
    let ops = Section::Sequence("ops", vec![doc! { "x": "y".repeat(40_000) }; 4]);
    let names = |name: &str| Section::Sequence("nsInfo", vec![doc! { "ns": "d.yes" }, doc! { "ns": name }]);
    for (bytes, code) in [
        (message(1, 0, opcode::MSG, &msg_body(0, &[far.clone(), body("insert")])), Some(9)),
        (message(1, 0, opcode::MSG, &msg_body(0, &[body("insert"), far])), None),
        (message(1, 0, opcode::MSG, &msg_body(0, &[body("bulkWrite"), ops, names("d.yes")])), Some(9)),
        (message(1, 0, opcode::MSG, &msg_body(0, &[body("bulkWrite"), names("d.yes")])), None),
        (message(1, 0, opcode::MSG, &msg_body(0, &[body("bulkWrite"), names("d.no")])), Some(13)),
        (command(1, &doc! { "bulkWrite": 1, "nsInfo": [{ "ns": "d.no" }], "$db": "admin" }), Some(13)),
        (command(1, &doc! { "bulkWrite": 1, "nsInfo": [{ "ns": "d.x" }], "$db": "admin" }), None),
        (command(1, &doc! { "bulkWrite": 1, "$db": "admin" }), Some(9)),
        (message(1, 0, opcode::MSG, &msg_body(1 << 5, &[body("find")])), Some(9)),
        (message(1, 0, opcode::MSG, &[0; 3]), Some(9)),
    ] {
        let mut host = host(rules);
        let connection = host.connect();
        for piece in bytes.chunks(30_000) {
            host.client_sends(&connection, piece);
        }
        let got = replies(host.client_got(&connection).bytes());
        assert_eq!(got.first().map(|(_, document)| document.get_i32("code").unwrap()), code);
        assert_eq!(host.upstream_got(&connection).bytes().is_empty(), code.is_some());
        // The connection goes on.
        let before = host.upstream_got(&connection).bytes().len();
        host.client_sends(&connection, find(2, "d", "yes"));
        assert!(host.upstream_got(&connection).bytes().len() > before);
        host.close(connection);
    }
}

#[test]
fn a_list_of_namespaces_speaks_only_for_the_command_that_has_one() {
    let rules = "{ rules: [{ action: allow, collections: ['yes*'] }], otherwise: deny }";
    let list = || Section::Sequence("nsInfo", vec![doc! { "ns": "d.yes" }]);
    let body = |document: Document| Section::Body(document);
    for (sections, code) in [
        ([list(), body(doc! { "drop": "no", "$db": "d" })], Some(13)),
        ([body(doc! { "drop": "no", "$db": "d" }), list()], Some(13)),
        ([list(), body(doc! { "dropDatabase": 1, "$db": "d" })], Some(13)),
        ([list(), body(doc! { "drop": "yes", "$db": "d" })], None),
        ([list(), body(doc! { "bulkWrite": 1, "$db": "admin" })], None),
        (
            [Section::Sequence("nsInfo", vec![doc! { "ns": "d.no" }]), body(doc! { "bulkWrite": 1, "$db": "admin" })],
            Some(13),
        ),
        (
            [
                Section::Sequence("nsInfo", vec![doc! { "ns": "d.yes" }; 16]),
                body(doc! { "bulkWrite": 1, "$db": "admin" }),
            ],
            None,
        ),
        (
            [
                Section::Sequence("nsInfo", vec![doc! { "ns": "d.yes" }; 17]),
                body(doc! { "bulkWrite": 1, "$db": "admin" }),
            ],
            Some(9),
        ),
    ] {
        let mut host = host(rules);
        let connection = host.connect();
        host.client_sends(&connection, message(1, 0, opcode::MSG, &msg_body(0, &sections)));
        let got = replies(host.client_got(&connection).bytes());
        assert_eq!(got.first().map(|(_, document)| document.get_i32("code").unwrap()), code);
        assert_eq!(host.upstream_got(&connection).bytes().is_empty(), code.is_some());
        host.close(connection);
    }
}

#[test]
fn of_several_databases_the_first_is_meant() {
    let mut host = host("{ rules: [{ action: deny, databases: [no] }] }");
    let connection = host.connect();
    let mut twice = crate::bson::write::Document::new();
    twice.string("find", "c").string("$db", "no").string("$db", "yes");
    let request = crate::wire::write::op_msg(1, 0, 0, &twice.finish());
    host.client_sends(&connection, request);
    assert_eq!(replies(host.client_got(&connection).bytes())[0].1.get_i32("code").unwrap(), 13);
    host.close(connection);
}
