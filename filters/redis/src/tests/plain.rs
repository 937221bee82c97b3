use fyke_sdk::Side;
use fyke_sdk::abi::Action;
use proptest::prelude::*;

use super::{Guest, command, host, metric, pipeline, total};

const PREFIX: &str = r#"{"prefix":{}}"#;

#[test]
fn commands_and_replies_are_counted_and_pass_as_they_are() {
    let host = host(PREFIX);
    let guest = Guest::new(&host);
    let said = pipeline(&["GET user:1", "get user:2", "HSET cart:9 a b", "NOSUCH x:1"]);
    guest.says(&said);
    assert_eq!(guest.sent().as_bytes(), said);
    let reply = b"$1\r\n1\r\n$-1\r\n-WRONGTYPE no\r\n-ERR unknown command\r\n";
    guest.server_says(reply);
    assert_eq!(guest.heard().as_bytes(), reply);
    assert_eq!(metric("redis_commands_total", &["get", "user"]), 2);
    assert_eq!(metric("redis_commands_total", &["other", ""]), 1);
    assert_eq!(metric("redis_reply_time_microseconds", &["get", "user", "ok"]), 2);
    assert_eq!(metric("redis_reply_time_microseconds", &["hset", "cart", "error"]), 1);
    assert_eq!(metric("redis_errors_total", &["hset", "WRONGTYPE"]), 1);
    assert_eq!(metric("redis_reply_bytes_total", &["get", "user"]), 12);
    assert_eq!(total("redis_request_bytes_total") as usize, said.len());
}

#[test]
fn pushes_are_no_replies() {
    let host = host("");
    let guest = Guest::new(&host);
    guest.asks("HELLO 3").server_says("%1\r\n+proto\r\n:3\r\n");
    guest.asks("GET a").server_says(">2\r\n$10\r\ninvalidate\r\n*0\r\n$1\r\n1\r\n");
    assert_eq!(metric("redis_pushes_total", &["invalidate"]), 1);
    assert_eq!(metric("redis_reply_time_microseconds", &["get", "", "ok"]), 1);
    guest.asks("SUBSCRIBE a b");
    guest.server_says(">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    assert_eq!(metric("redis_reply_time_microseconds", &["subscribe", "", "ok"]), 0);
    guest.server_says(">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
    assert_eq!(metric("redis_reply_time_microseconds", &["subscribe", "", "ok"]), 1);
    assert_eq!(metric("redis_pushes_total", &["message"]), 1);
    assert_eq!(total("redis_protocol_errors_total"), 0);
}

#[test]
fn messages_of_resp2_and_monitor_are_no_replies_either() {
    let host = host("");
    let guest = Guest::new(&host);
    guest
        .asks("SUBSCRIBE a")
        .server_says("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    guest.asks("PING").server_says("*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    guest.asks("UNSUBSCRIBE").server_says("*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n");
    // An array that looks like a message is none any more.
    guest.asks("LRANGE l 0 -1").server_says("*1\r\n$7\r\nmessage\r\n");
    assert_eq!(metric("redis_reply_time_microseconds", &["lrange", "", "ok"]), 1);
    guest.asks("MONITOR").server_says("+OK\r\n+1339518083.107412 [0 127.0.0.1:1] \"get\"\r\n");
    assert_eq!(metric("redis_pushes_total", &["monitor"]), 1);
    assert_eq!(total("redis_protocol_errors_total"), 0);
}

#[test]
fn commands_that_are_not_answered_wait_for_nothing() {
    let host = host("");
    let guest = Guest::new(&host);
    guest.says(pipeline(&[
        "CLIENT REPLY SKIP",
        "GET a",
        "GET b",
        "CLIENT REPLY OFF",
        "GET c",
        "CLIENT REPLY ON",
        "INCR d",
    ]));
    guest.server_says("$1\r\nb\r\n+OK\r\n:1\r\n");
    assert_eq!(metric("redis_commands_total", &["get", ""]), 3);
    assert_eq!(metric("redis_reply_time_microseconds", &["get", "", "ok"]), 1);
    assert_eq!(metric("redis_reply_time_microseconds", &["incr", "", "ok"]), 1);
    assert_eq!(total("redis_protocol_errors_total"), 0);
}

#[test]
fn only_so_many_commands_wait() {
    let host = host(r#"{"in_flight":2}"#);
    let guest = Guest::new(&host);
    let said = pipeline(&["GET a", "GET b", "GET c", "GET d", "GET e"]);
    guest.says(&said);
    assert_eq!(guest.sent().as_bytes(), pipeline(&["GET a", "GET b"]));
    guest.server_says("$-1\r\n");
    assert_eq!(guest.sent().as_bytes(), command("GET c"));
    guest.server_says("$-1\r\n$-1\r\n");
    assert_eq!(guest.sent().as_bytes(), pipeline(&["GET d", "GET e"]));
    assert_eq!(metric("redis_commands_total", &["get", ""]), 5);
}

#[test]
fn what_is_no_resp_ends_the_connection() {
    let host = host("");
    let guest = Guest::new(&host);
    guest.says("*1\r\n+no\r\n");
    assert!(guest.is_closed());
    let guest = Guest::new(&host);
    guest.asks("GET a").server_says("?\r\n");
    assert!(guest.is_closed());
    assert_eq!(metric("redis_protocol_errors_total", &["downstream", "type"]), 1);
    assert_eq!(metric("redis_protocol_errors_total", &["upstream", "type"]), 1);
}

#[test]
fn replication_passes_unseen() {
    let host = host("");
    let guest = Guest::new(&host);
    guest.asks("PSYNC ? -1").server_says("+FULLRESYNC x 0\r\n$EOF:abc\r\nanything\0");
    guest.says("no resp\0\0");
    assert!(!guest.is_closed());
    assert!(guest.heard().ends_with("anything\0"));
}

#[test]
fn large_bodies_are_not_shown() {
    let host = host("");
    let guest = Guest::new(&host);
    guest.says("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n").says([b'x'; 300]);
    host.connection(guest.id, |state| assert_eq!(state.passages[0].skip, 1_000_000 - 300));
    guest.says(vec![b'x'; 1_000_000 - 300]).says("\r\n").server_says("+OK\r\n");
    assert_eq!(guest.sent().len(), 1_000_032);
    assert_eq!(metric("redis_request_bytes_total", &["set", ""]), 1_000_032);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn counts_are_the_same_wherever_streams_are_cut(cuts in proptest::collection::vec(1..40_usize, 1..80)) {
        let host = host(PREFIX);
        let guest = Guest::new(&host);
        let said = pipeline(&["GET user:1", "SET user:2 valuevaluevalue", "MULTI", "INCR n:1", "EXEC", "PING"]);
        let reply = b"$5\r\nhello\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n+PONG\r\n".to_vec();
        for (side, bytes) in [(Side::Downstream, &said), (Side::Upstream, &reply)] {
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                prop_assert_eq!(host.send(side, guest.id, piece, false), Action::Continue);
                rest = after;
                if rest.is_empty() { break; }
            }
        }
        prop_assert_eq!(guest.sent().into_bytes(), said.clone());
        prop_assert_eq!(guest.heard().into_bytes(), reply.clone());
        prop_assert_eq!(total("redis_commands_total"), 6);
        prop_assert_eq!(total("redis_request_bytes_total") as usize, said.len());
        prop_assert_eq!(total("redis_reply_bytes_total") as usize, reply.len());
        prop_assert_eq!(metric("redis_reply_time_microseconds", &["exec", "", "ok"]), 1);
    }

    #[test]
    fn nobody_makes_it_panic(
        pool in any::<bool>(),
        steps in proptest::collection::vec((0..4_u8, prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..30),
            "(MULTI|EXEC|SELECT 1|SUBSCRIBE a|UNSUBSCRIBE|BLPOP a 0|GET a|RESET|HELLO 3|MONITOR|QUIT|CLIENT REPLY OFF)\r\n".prop_map(String::into_bytes),
            "[*$%~>|:+]-?[0-9]{1,2}\r\n".prop_map(String::into_bytes),
            Just(b"+OK\r\n".to_vec()),
        ]), 0..30),
    ) {
        let host = host(if pool { super::POOL } else { "" });
        let guest = Guest::new(&host);
        for (what, bytes) in steps {
            if guest.is_closed() { break; }
            let asked = guest.lease() == Some(fyke_sdk::testing::LeaseState::Asked);
            let lent = guest.lease() == Some(fyke_sdk::testing::LeaseState::Lent);
            match what {
                0 | 1 => { guest.says(bytes); }
                2 if lent || !pool => { guest.server_says(bytes); }
                2 if asked => { guest.lend(); }
                3 if asked => host.refuse(guest.id, fyke_sdk::lease::Reason::Timeout, "late"),
                3 if lent => host.lose(guest.id),
                _ => {}
            }
        }
        host.close(Side::Downstream, guest.id);
        host.finish(guest.id);
        prop_assert_eq!(host.connections(), 0);
    }
}
