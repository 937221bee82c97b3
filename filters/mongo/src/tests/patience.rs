//! Much at once: a part is done in one call, and the rest after a moment.

use std::time::Duration;

use bson::doc;

use super::*;

const MANY: i32 = 3000;

fn find(number: i32) -> Vec<u8> {
    command(number, &doc! { "find": if number % 3 == 0 { "no" } else { "yes" }, "$db": "d" })
}

fn all() -> Vec<u8> {
    (0..MANY).flat_map(find).collect()
}

#[test]
fn many_requests_and_replies_at_once_are_all_counted_and_pass_in_order() {
    let mut host = host("labels: { collections: 0 }");
    let connection = host.connect();
    host.client_sends(&connection, all());
    let counted = || count("mongo_operations_total{db=d,cmd=find}");
    assert!((100..1000).contains(&counted()), "{}", counted());
    let went = host.upstream_got(&connection).bytes().len();
    assert!(0 < went && went < all().len(), "{went}");
    // Somebody says more meanwhile.
    host.client_sends(&connection, find(MANY));
    for _ in 0..20 {
        host.advance(Duration::from_millis(1));
    }
    assert_eq!(counted(), i64::from(MANY) + 1);
    assert_eq!(host.upstream_got(&connection), &[all(), find(MANY)].concat());
    let replies: Vec<u8> = (0..=MANY).flat_map(|number| reply(number, &doc! { "ok": 1 })).collect();
    host.upstream_sends(&connection, &replies);
    for _ in 0..20 {
        host.advance(Duration::from_millis(1));
    }
    assert_eq!(host.client_got(&connection), &replies);
    assert_eq!(count("mongo.mongo.op_reply"), i64::from(MANY) + 1);
    host.close(connection);
}

#[test]
fn complaints_cost_as_much_as_decisions() {
    let bad = message(1, 0, opcode::MSG, b"\0\0\0\0\x09").repeat(3000);
    let mut host = host("{ rules: [{ action: allow }] }");
    let connection = host.connect();
    host.client_sends(&connection, &bad);
    let counted = || count("mongo_unreadable_total{reason=section}");
    assert!((100..=350).contains(&counted()), "{}", counted());
    for _ in 0..20 {
        host.advance(Duration::from_millis(1));
    }
    assert_eq!(counted(), 3000);
    host.close(connection);
}

#[test]
fn what_is_denied_among_many_never_passes_and_an_end_waits_for_its_turn() {
    let passed: Vec<u8> = (0..MANY).filter(|number| number % 3 != 0).flat_map(find).collect();
    for ends in [false, true] {
        for size in [all().len(), 50_000, 7_777] {
            let mut host = host("{ rules: [{ action: deny, collections: [no] }], in_flight: 9000 }");
            let connection = host.connect();
            for piece in all().chunks(size) {
                host.client_sends(&connection, piece);
            }
            if ends {
                host.client_ends(&connection);
            }
            for _ in 0..30 {
                host.advance(Duration::from_millis(1));
            }
            assert_eq!(host.upstream_got(&connection), &passed, "{ends} {size}");
            assert_eq!(count("mongo_refused_total{cmd=find,reason=rule,name=rules[0]}"), i64::from(MANY / 3));
            assert_eq!(count("mongo_op_query_active"), i64::from(MANY - MANY / 3));
            host.close(connection);
        }
    }
}

#[test]
fn small_messages_that_inflate_to_much_are_read_a_few_at_a_time() {
    let zeros = vec![0; 300_000];
    let mut body = opcode::MSG.to_le_bytes().to_vec();
    body.extend(300_000_u32.to_le_bytes());
    body.push(2);
    body.extend(miniz_oxide::deflate::compress_to_vec_zlib(&zeros, 9));
    let bombs = message(1, 0, opcode::COMPRESSED, &body).repeat(60);
    let mut host = host("");
    let connection = host.connect();
    host.client_sends(&connection, [bombs.as_slice(), &find(1)].concat());
    assert!(count("mongo_unreadable_total{reason=section}") + count("mongo_unreadable_total{reason=short}") < 60);
    for _ in 0..100 {
        host.advance(Duration::from_millis(1));
    }
    assert_eq!(host.upstream_got(&connection), &[bombs.as_slice(), &find(1)].concat());
    assert_eq!(count("mongo_operations_total{db=d,cmd=find,collection=yes}"), 1);
    host.close(connection);
}

#[test]
fn a_host_that_shows_nothing_twice_gets_all_of_it_at_once() {
    let host = fyke_sdk::testing::TcpHost::<Mongo>::configure_in("", |world| world.knows_fyke = false).unwrap();
    let (client, _) = host.connect();
    host.send(fyke_sdk::Side::Downstream, client, &all(), false);
    assert_eq!(host.take(fyke_sdk::Side::Downstream, client), all());
    assert_eq!(count("mongo.mongo.op_msg"), i64::from(MANY));
}
