//! Clients and servers of the pool that say and do whatever they like, in any order.

use std::time::Duration;

use fyke_sdk::lease::Reason;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Client(Vec<u8>),
    ClientEnds,
    Server(Vec<u8>),
    /// The reply to the request that the server was given last.
    Answers(Document),
    Lend(bool),
    Refuse(usize),
    Lose,
    Time,
}

/// Sound requests, and some that are nearly so.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let sound = prop::sample::select(vec![
        doc! { "find": "users", "$db": "shop" },
        doc! { "getMore": 5_i64, "collection": "users", "$db": "shop" },
        doc! { "killCursors": "users", "cursors": [5_i64, 6_i64], "$db": "shop" },
        doc! { "insert": "users", "$db": "shop" },
        doc! { "hello": 1, "speculativeAuthenticate": { "saslStart": 1 }, "$db": "admin" },
        doc! { "saslContinue": 1, "payload": "x", "$db": "admin" },
        doc! { "commitTransaction": 1, "lsid": { "id": 1 }, "txnNumber": 1_i64, "autocommit": false, "$db": "admin" },
        doc! { "bulkWrite": 1, "$db": "admin" },
    ]);
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (1..5, sound, prop::sample::select(vec![0_u32, 0, 2, 1 << 16, 1 << 5]), flips, 0..4).prop_map(
        |(number, document, flags, flips, is_flipped)| {
            let mut bytes = message(number, 0, opcode::MSG, &msg_body(flags, &[Section::Body(document)]));
            for (at, byte) in flips.into_iter().filter(|_| is_flipped == 0) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let noise = || prop::collection::vec(any::<u8>(), 0..60);
    let lengths = prop::sample::select(vec![-1_i32, 0, 3, 15, 16, 48_000_000, 48_000_001, i32::MAX]);
    let odd = (lengths, noise()).prop_map(|(length, rest)| [&length.to_le_bytes()[..], &rest].concat());
    let answer = prop::sample::select(vec![
        doc! { "ok": 1.0 },
        doc! { "cursor": { "firstBatch": [{}], "id": 5_i64, "ns": "shop.users" }, "ok": 1.0 },
        doc! { "ok": 0.0, "code": 10107, "errorLabels": ["TransientTransactionError"] },
        doc! { "isWritablePrimary": true, "setName": "rs", "maxWireVersion": 21, "ok": 1.0 },
    ]);
    prop_oneof![
        6 => request().prop_map(Step::Client),
        1 => odd.clone().prop_map(Step::Client),
        1 => noise().prop_map(Step::Client),
        1 => Just(Step::ClientEnds),
        6 => answer.prop_map(Step::Answers),
        1 => odd.prop_map(Step::Server),
        1 => noise().prop_map(Step::Server),
        8 => any::<bool>().prop_map(Step::Lend),
        2 => (0_usize..5).prop_map(Step::Refuse),
        1 => Just(Step::Lose),
        2 => Just(Step::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_everything_comes_to_rest(
        steps in prop::collection::vec(step(), 1..60),
        more in prop::sample::select(vec![
            "",
            r#", "fault": {"delay": {"duration": "1ms", "percentage": "30%"}, "abort": {"code": 6, "percentage": "10%"}}"#,
            r#", "limits": [{"name": "x", "limit": {"concurrency": 1, "quota": "20/d"}}], "log": {}"#,
        ]),
    ) {
        let host = pool(&format!(r#"{{"pool": {{"cluster": "db", "long_lived": 1}}{more}}}"#));
        opened(&host, PRIMARY);
        let (client, _) = host.connect();
        let is_open = || host.connection(client, |state| state.closed_sides.is_empty());
        let stands = |wanted: LeaseState| host.leases(client).iter().filter(|lease| lease.state == wanted).count();
        let (mut has_ended, mut asked) = (false, 0);
        for step in steps {
            if !is_open() {
                break;
            }
            match step {
                Step::Client(bytes) if !has_ended => _ = host.send(Downstream, client, &bytes, false),
                Step::ClientEnds if !has_ended => {
                    has_ended = true;
                    host.send(Downstream, client, &[], true);
                }
                Step::Server(bytes) if stands(LeaseState::Lent) == 1 => _ = host.send(Upstream, client, &bytes, false),
                Step::Answers(document) if stands(LeaseState::Lent) == 1 => {
                    host.send(Upstream, client, &reply(asked, &document), false);
                }
                Step::Lend(is_primary) if stands(LeaseState::Asked) == 1 => {
                    let wanted = last(&host, client).endpoint;
                    let server = if !wanted.is_empty() { wanted } else { [SECONDARY, PRIMARY][usize::from(is_primary)].to_owned() };
                    host.lend(client, &server);
                }
                Step::Refuse(why) if stands(LeaseState::Asked) == 1 => {
                    let why = [Reason::NoEndpoint, Reason::Busy, Reason::Timeout, Reason::Connect, Reason::Handshake][why];
                    host.refuse(client, why, "");
                }
                Step::Lose if stands(LeaseState::Lent) == 1 => host.lose(client),
                Step::Time => host.advance(Duration::from_millis(1)),
                _ => {}
            }
            let sent = [host.take(Downstream, client), host.written(Upstream, client)].concat();
            if let Some(number) = sent.get(4..8) {
                asked = i32::from_le_bytes(number.try_into().unwrap());
            }
            prop_assert!(stands(LeaseState::Asked) + stands(LeaseState::Lent) <= 1);
        }
        host.close(Downstream, client);
        host.finish(client);
        prop_assert_eq!(host.connections(), 0);
        for gauge in ["mongo_pool_lent", "mongo_pool_waiting", "mongo_pool_searching", "mongo_op_query_active"] {
            prop_assert_eq!(count(gauge), 0, "{}", gauge);
        }
    }
}
