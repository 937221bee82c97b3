//! Peers that send whatever they like.

use bson::doc;
use proptest::prelude::*;

use super::*;

#[test]
fn a_length_out_of_bounds_ends_the_connection_and_what_was_before_it_arrives() {
    for length in [-1, 0, 3, 15, 48_000_001, i32::MAX, i32::MIN] {
        for from_client in [true, false] {
            let mut host = host("");
            let connection = host.connect();
            let good =
                if from_client { command(1, &doc! { "ping": 1, "$db": "d" }) } else { reply(1, &doc! { "ok": 1 }) };
            let bad = [&length.to_le_bytes()[..], &[0; 30]].concat();
            let all = [good.as_slice(), &bad].concat();
            if from_client {
                host.client_sends(&connection, &all);
                assert_eq!(host.upstream_got(&connection), &good);
            } else {
                host.upstream_sends(&connection, &all);
                assert_eq!(host.client_got(&connection), &good);
            }
            assert!(!host.is_open(&connection), "{length}");
            assert_eq!(count("mongo_unreadable_total{reason=length}"), 1);
            assert_eq!(count("mongo.mongo.decoding_error"), 1);
            assert_eq!(count("mongo.mongo.op_query_active"), 0);
            assert!(host.logs().iter().any(|line| line.contains(&format!("has a length of {length} bytes"))));
            host.close(connection);
        }
    }
}

#[test]
fn what_cannot_be_read_is_counted_passes_and_blinds_nobody() {
    let nested = |depth: usize| (0..depth).fold(doc! {}, |inner, _| doc! { "a": inner });
    let ping = doc! { "ping": 1, "$db": "d" };
    let mut long = ping.to_vec().unwrap();
    long[0] += 9;
    let mut short = ping.to_vec().unwrap();
    short[0] -= 2;
    let mut kind = ping.to_vec().unwrap();
    kind[4] = 0x55;
    let body = |document: &[u8]| [&[0; 5][..], document].concat();
    for (bytes, reason) in [
        (message(1, 0, 4711, b"whatever"), "opcode"),
        (message(1, 0, opcode::MSG, &msg_body(1 << 2, &[Section::Body(ping.clone())])), "flag"),
        (message(1, 0, opcode::MSG, &msg_body(0, &[])), "section"),
        (
            message(1, 0, opcode::MSG, &msg_body(0, &[Section::Body(ping.clone()), Section::Body(ping.clone())])),
            "section",
        ),
        (message(1, 0, opcode::MSG, &msg_body(0, &[Section::Sequence("x", vec![])])), "section"),
        (message(1, 0, opcode::MSG, b"\0\0\0\0\x07abc"), "section"),
        (message(1, 0, opcode::MSG, b"\0\0\0\0\x01\xff\xff\xff\x7fabc\0"), "section"),
        (message(1, 0, opcode::MSG, b"\0\0"), "short"),
        (message(1, 0, opcode::MSG, &body(&long)), "bson_length"),
        (message(1, 0, opcode::MSG, &body(&short)), "bson_length"),
        (message(1, 0, opcode::MSG, &body(&kind)), "bson_type"),
        (message(1, 0, opcode::MSG, &body(b"\xff\xff\xff\xff")), "bson_length"),
        (message(1, 0, opcode::QUERY, &[0; 700]), "bson_length"),
        (message(1, 0, opcode::INSERT, &[b'x'; 700]), "short"),
        (message(1, 0, opcode::KILL_CURSORS, &[0xff; 8]), "short"),
    ] {
        for policy in ["", "{ rules: [{ action: allow }] }"] {
            let mut host = host(policy);
            let connection = host.connect();
            let good = command(2, &ping);
            host.client_sends(&connection, [bytes.as_slice(), &good].concat());
            assert_eq!(host.upstream_got(&connection), &[bytes.as_slice(), &good].concat());
            let counted = count(&format!("mongo_unreadable_total{{reason={reason}}}"));
            assert_eq!(counted, 1, "{reason}: {:?}: {:#?}", bytes.get(..60.min(bytes.len())), metrics());
            assert!(count("mongo_operations_total{db=d,cmd=ping}") >= 1, "{reason}");
            host.close(connection);
        }
    }
    let mut host = host("log: { redact: false, statement: 4KiB }");
    let connection = host.connect();
    host.client_sends(
        &connection,
        message(
            2,
            0,
            opcode::MSG,
            &msg_body(
                2,
                &[Section::Body(doc! { "find": "c", "filter": nested(80), "comment": nested(80), "$db": "d" })],
            ),
        ),
    );
    assert_eq!(count("mongo_operations_total{db=d,cmd=find,collection=c}"), 1);
    host.close(connection);
}

#[test]
fn a_message_that_is_cut_off_is_counted_when_the_connection_ends() {
    let mut host = host("");
    let connection = host.connect();
    let ping = command(1, &doc! { "find": "c", "$db": "d" });
    host.client_sends(&connection, &ping[..ping.len() - 3]);
    host.client_ends(&connection);
    assert_eq!(host.upstream_got(&connection), &ping[..ping.len() - 3]);
    host.close(connection);
    assert_eq!(count("mongo_forgotten_total{what=request}"), 1);
}

#[test]
fn names_of_clients_make_no_more_series_than_they_may() {
    let mut host = host("{ labels: { collections: 3 } }");
    let connection = host.connect();
    for number in 0..50 {
        host.client_sends(&connection, command(number, &doc! { "find": format!("c\n{number}"), "$db": "d" }));
    }
    assert_eq!(count("mongo_operations_total{db=d,cmd=find,collection=_overflow}"), 47);
    assert_eq!(count("mongo.mongo.collection._overflow.query.total"), 47);
    assert_eq!(count("mongo.mongo.collection.c_1.query.total"), 1);
    host.close(connection);
}

/// Bytes that are nearly messages.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let kinds = vec![
        opcode::MSG,
        opcode::MSG,
        opcode::COMPRESSED,
        opcode::QUERY,
        opcode::REPLY,
        opcode::INSERT,
        opcode::GET_MORE,
        opcode::KILL_CURSORS,
        7,
    ];
    let noise = prop::collection::vec(any::<u8>(), 0..120);
    let sound = prop::sample::select(vec![
        msg_body(0, &[Section::Body(doc! { "find": "c", "filter": { "_id": 1 }, "comment": "{}", "$db": "d" })]),
        msg_body(
            0,
            &[Section::Body(
                doc! { "cursor": { "firstBatch": [{}, {}], "id": 1_i64 }, "errorLabels": ["x"], "writeErrors": [{ "code": 1 }], "ok": 1 },
            )],
        ),
        msg_body(
            0,
            &[
                Section::Body(doc! { "bulkWrite": 1, "$db": "d" }),
                Section::Sequence("nsInfo", vec![doc! { "ns": "a.b" }]),
            ],
        ),
        [
            &opcode::MSG.to_le_bytes()[..],
            &[60, 0, 0, 0, 1],
            &snap::raw::Encoder::new().compress_vec(&msg_body(0, &[Section::Body(doc! { "find": "c" })])).unwrap(),
        ]
        .concat(),
    ]);
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let body = prop_oneof![
        noise,
        (sound, flips).prop_map(|(mut body, flips)| {
            for (at, byte) in flips {
                let at = at.index(body.len());
                body[at] = byte;
            }
            body
        })
    ];
    (prop::sample::select(kinds), body, -3_i32..4, 0..30).prop_map(|(kind, body, lie, chance)| {
        let mut bytes = message(1, 1, kind, &body);
        if chance == 0 {
            let length = i32::from_le_bytes(bytes[..4].try_into().unwrap()) + lie;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_everything_passes(
        messages in prop::collection::vec(nearly(), 1..6),
        cut in 1_usize..200,
        (setting, holds) in prop::sample::select(vec![
            ("", false),
            ("{ log: { redact: false }, slow: 0s, metadata: true }", false),
            ("{ otherwise: deny, log: {} }", true),
            ("{ limits: [{ name: a, by: [user, callsite, address], limit: 2/h }], log: {} }", true),
            ("{ limits: [{ name: a, limit: { concurrency: 1 }, shadow: true }], log: {} }", false),
            ("{ fault: { delay: { duration: 1ms, percentage: 50% } } }", false),
            ("{ fault: { delay: { duration: 1ms, percentage: 50% }, abort: { code: 6, percentage: 50% } } }", true),
        ]),
    ) {
        let bytes = messages.concat();
        let mut host = host(setting);
        let connection = host.connect();
        for piece in bytes.chunks(cut) {
            host.client_sends(&connection, piece);
            host.upstream_sends(&connection, piece);
        }
        if host.is_open(&connection) {
            host.client_ends(&connection);
        }
        for _ in &messages {
            host.advance(std::time::Duration::from_millis(1));
        }
        if !holds && host.is_open(&connection) {
            prop_assert_eq!(host.upstream_got(&connection), &bytes);
            prop_assert_eq!(host.client_got(&connection), &bytes);
        }
        host.close(connection);
        prop_assert_eq!(count("mongo.mongo.op_query_active"), 0);
        prop_assert_eq!(World::with(|world| world.tick), None);
    }
}

#[test]
fn who_reads_no_reply_is_owed_only_so_many() {
    let mut host = host("rules: [{ action: deny, collections: [no] }]");
    let connection = host.connect();
    host.client_sends(&connection, command(1, &doc! { "find": "c", "$db": "d" }));
    // The server's reply stands still in the middle, as it does when its client reads nothing; refusals have to wait for its end.
    let answer = reply(1, &doc! { "cursor": { "firstBatch": [{ "x": "y".repeat(100) }], "id": 0_i64 }, "ok": 1 });
    host.upstream_sends(&connection, &answer[..40]);
    let no = command(2, &doc! { "find": "no", "$db": "d" });
    let sent = (0..10_000).take_while(|_| {
        host.client_sends(&connection, &no);
        host.is_open(&connection)
    });
    let sent = sent.count();
    assert!((500..5000).contains(&sent), "{sent}");
    host.close(connection);
}
