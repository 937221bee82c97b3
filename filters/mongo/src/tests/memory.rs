//! Many connections that keep a little each.

use bson::doc;

use super::*;

/// A command that is compressed and long, and cannot be read before it is whole.
fn long() -> Vec<u8> {
    let mut random = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    })
    .take(90_000)
    .collect();
    let noise = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: noise };
    let body = msg_body(0, &[Section::Body(doc! { "find": "c", "$db": "d", "filter": { "x": noise } })]);
    let squeezed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
    let head = [&opcode::MSG.to_le_bytes()[..], &u32::try_from(body.len()).unwrap().to_le_bytes(), &[1]].concat();
    message(1, 0, opcode::COMPRESSED, &[head, squeezed].concat())
}

#[test]
fn of_many_unfinished_messages_less_is_kept_of_each() {
    let mut host = host("");
    let (beginning, rest) = (&long()[..80_000], &long()[80_000..]);
    let read = || count("mongo_operations_total{db=d,cmd=find,collection=c}");
    let waiting: Vec<_> = (0..400)
        .map(|_| {
            let connection = host.connect();
            host.client_sends(&connection, beginning);
            connection
        })
        .collect();
    // What finds no room is read as far as it is there.
    let early = read();
    assert!((250..350).contains(&early), "{early}");
    for connection in &waiting {
        host.client_sends(connection, rest);
    }
    assert_eq!(read(), 400);
    for connection in waiting {
        assert_eq!(host.upstream_got(&connection), &long());
        host.close(connection);
    }
    // There is room again.
    let connection = host.connect();
    host.client_sends(&connection, beginning);
    assert_eq!(read(), 400);
    host.close(connection);
}

#[test]
fn who_reads_no_replies_is_owed_less_where_many_do_not() {
    let mut host = host("rules: [{ action: deny, collections: [no] }]");
    let answer = reply(1, &doc! { "cursor": { "firstBatch": [{ "x": "y".repeat(100) }], "id": 0_i64 }, "ok": 1 });
    let refused: Vec<u8> = (0..20).flat_map(|number| command(number, &doc! { "find": "no", "$db": "d" })).collect();
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let connection = host.connect();
            host.client_sends(&connection, command(1, &doc! { "find": "c", "$db": "d" }));
            host.upstream_sends(&connection, &answer[..40]);
            for _ in 0..50 {
                if host.is_open(&connection) {
                    host.client_sends(&connection, &refused);
                }
            }
            connection
        })
        .collect();
    let open: Vec<bool> = clients.iter().map(|connection| host.is_open(connection)).collect();
    assert!(open[0] && !open[99], "{open:?}");
    // What they were owed is forgotten with them.
    clients.into_iter().for_each(|connection| host.close(connection));
    let connection = host.connect();
    host.client_sends(&connection, command(1, &doc! { "find": "c", "$db": "d" }));
    host.upstream_sends(&connection, &answer[..40]);
    host.client_sends(&connection, &refused);
    assert!(host.is_open(&connection));
    host.close(connection);
}

#[test]
fn of_many_that_ask_without_waiting_fewer_operations_are_remembered_each() {
    let mut host = host("");
    let finds: Vec<u8> = (0..250).flat_map(|number| command(number, &doc! { "find": "c", "$db": "d" })).collect();
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let connection = host.connect();
            host.client_sends(&connection, &finds);
            connection
        })
        .collect();
    let waiting = count("mongo.mongo.op_query_active");
    assert!((16_000..=(16 << 10) + 4 * 100).contains(&waiting), "{waiting}");
    assert_eq!(count("mongo_forgotten_total{what=operation}"), 25_000 - waiting);
    for connection in clients {
        host.close(connection);
    }
    assert_eq!(count("mongo.mongo.op_query_active"), 0);
    let connection = host.connect();
    host.client_sends(&connection, &finds);
    assert_eq!(count("mongo.mongo.op_query_active"), 250);
    host.close(connection);
}
