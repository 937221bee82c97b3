//! Streams that are cut anywhere, and bytes that mean nothing.

use proptest::prelude::*;

use super::*;

/// Bytes of a side in pieces.
fn in_pieces(host: &TcpHost<Mongo>, side: fyke_sdk::Side, client: u32, bytes: &[u8], cuts: &mut Vec<usize>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = cuts.pop().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, behind) = rest.split_at(count);
        host.send(side, client, piece, false);
        rest = behind;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn wherever_the_streams_are_cut_everybody_gets_what_is_theirs(
        mut down in prop::collection::vec(1_usize..80, 0..40), mut up in prop::collection::vec(1_usize..80, 0..40),
    ) {
        let host = known();
        let (client, _) = host.connect();
        let insert = message(3, 0, opcode::MSG, &msg_body(0, &[
            Section::Body(doc! { "insert": "users", "$db": "shop" }), Section::Sequence("documents", vec![doc! { "x": "y".repeat(500) }; 3]),
        ]));
        let hello = command(2, &doc! { "hello": 1, "$db": "admin" });
        let ok = reply(3, &doc! { "n": 3, "ok": 1.0 });
        let (mut went, mut came, mut greetings) = (Vec::new(), Vec::new(), 0);
        in_pieces(&host, Downstream, client, &[find(1), hello, insert.clone(), find(4)].concat(), &mut down);
        for answer in [found(1, 0), ok.clone(), found(4, 5)] {
            prop_assert_eq!(last(&host, client).state, LeaseState::Asked);
            host.lend(client, PRIMARY);
            went.extend(host.take(Downstream, client));
            in_pieces(&host, Upstream, client, &answer, &mut up);
            came.extend(host.take(Upstream, client));
            greetings += usize::from(!host.written(Downstream, client).is_empty());
        }
        prop_assert_eq!(went, [find(1), insert, find(4)].concat());
        prop_assert_eq!(came, [found(1, 0), ok, found(4, 5)].concat());
        prop_assert_eq!(greetings, 1);
        prop_assert!(states(&host, client).iter().all(|state| *state == LeaseState::Released));
    }

    #[test]
    fn whatever_servers_and_clients_send_nothing_panics(
        request in prop::collection::vec(any::<u8>(), 0..120), answer in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let host = known();
        let (client, _) = host.connect();
        host.send(Downstream, client, &find(1), false);
        host.lend(client, PRIMARY);
        host.send(Upstream, client, &answer, false);
        let (other, _) = host.connect();
        host.send(Downstream, other, &message(2, 0, opcode::MSG, &request), false);
        for client in [client, other] {
            host.close(Downstream, client);
            host.finish(client);
        }
        prop_assert_eq!(host.connections(), 0);
    }
}
