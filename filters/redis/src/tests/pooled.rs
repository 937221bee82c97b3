use fyke_sdk::Side;
use fyke_sdk::testing::LeaseState;

use super::{Guest, POOL, command, host, metric, pipeline};

#[test]
fn an_exchange_borrows_a_connection_and_gives_it_back() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("GET a");
    assert_eq!((guest.sent().as_str(), guest.lease()), ("", Some(LeaseState::Asked)));
    let lease = host.leases(guest.id).remove(0);
    assert_eq!(
        (lease.cluster.as_str(), lease.identity.as_slice(), lease.share.as_str()),
        ("redis", &b"db=0;resp=2"[..], "")
    );
    guest.lend();
    assert_eq!(guest.sent().as_bytes(), command("GET a"));
    guest.server_says("$1\r\nx");
    assert_eq!(guest.lease(), Some(LeaseState::Lent));
    guest.server_says("\r\n");
    assert_eq!((guest.heard().as_str(), guest.lease()), ("$1\r\nx\r\n", Some(LeaseState::Released)));
    assert_eq!(metric("redis_reply_time_microseconds", &["get", "", "ok"]), 1);
    assert!(!guest.is_closed());
}

#[test]
fn what_arrived_together_goes_together_and_what_comes_later_later() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    let batch = pipeline(&["SET a 1", "GET a"]);
    guest.says(&batch).says("*2\r\n$3\r\nGET\r\n").lend();
    assert_eq!(guest.sent().as_bytes(), batch);
    guest.says("$1\r\nb\r\n").server_says("+OK\r\n");
    assert_eq!((guest.sent().as_str(), guest.leases()), ("", 1));
    guest.server_says("$1\r\n1\r\n");
    assert_eq!((guest.leases(), guest.lease()), (2, Some(LeaseState::Asked)));
    guest.lend();
    assert_eq!(guest.sent().as_bytes(), command("GET b"));
}

#[test]
fn a_batch_has_only_so_many_commands() {
    let host = host(r#"{"pool":{"cluster":"redis","batch":2}}"#);
    let guest = Guest::new(&host);
    guest.says(pipeline(&["GET a", "GET b", "GET c", "GET d", "GET e"]));
    for expected in [&["GET a", "GET b"][..], &["GET c", "GET d"], &["GET e"]] {
        guest.lend();
        assert_eq!(guest.sent().as_bytes(), pipeline(expected));
        guest.server_says("$-1\r\n".repeat(expected.len()));
    }
    assert_eq!(guest.lease(), Some(LeaseState::Released));
}

#[test]
fn a_transaction_keeps_its_connection() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("WATCH a").lend().server_says("+OK\r\n");
    guest.asks("GET a").server_says("$1\r\n1\r\n");
    guest.asks("MULTI").server_says("+OK\r\n");
    guest.asks("SET a 2").server_says("+QUEUED\r\n");
    guest.says(pipeline(&["BLPOP l 0", "GET a"])).server_says("+QUEUED\r\n+QUEUED\r\n");
    assert_eq!((guest.leases(), guest.lease()), (1, Some(LeaseState::Lent)));
    guest.asks("EXEC").server_says("*3\r\n+OK\r\n*-1\r\n$1\r\n2\r\n");
    assert_eq!((guest.leases(), guest.lease()), (1, Some(LeaseState::Released)));
    assert_eq!(
        guest.sent().as_bytes(),
        pipeline(&["WATCH a", "GET a", "MULTI", "SET a 2", "BLPOP l 0", "GET a", "EXEC"])
    );
}

#[test]
fn a_transaction_ends_with_each_of_its_ends_and_no_other() {
    for (last, reply, state) in [
        ("EXEC", "*-1\r\n", LeaseState::Released),
        ("EXEC", "-EXECABORT no\r\n", LeaseState::Released),
        ("EXEC", "-ERR wrong number of arguments\r\n", LeaseState::Lent),
        ("DISCARD", "+OK\r\n", LeaseState::Released),
        ("MULTI", "-ERR MULTI calls can not be nested\r\n", LeaseState::Lent),
        ("UNWATCH", "+QUEUED\r\n", LeaseState::Lent),
    ] {
        let host = host(POOL);
        let guest = Guest::new(&host);
        guest.asks("MULTI").lend().server_says("+OK\r\n").asks(last).server_says(reply);
        assert_eq!(guest.lease(), Some(state), "{last} {reply}");
    }
    for (first, reply, then, state) in
        [("WATCH a", "+OK\r\n", "UNWATCH", LeaseState::Released), ("MULTI", "-NOPERM no\r\n", "", LeaseState::Released)]
    {
        let host = host(POOL);
        let guest = Guest::new(&host);
        guest.asks(first).lend().server_says(reply);
        if !then.is_empty() {
            guest.asks(then).server_says("+OK\r\n");
        }
        assert_eq!(guest.lease(), Some(state), "{first}");
    }
}

#[test]
fn nobody_subscribes_inside_of_a_transaction() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("WATCH a").lend().server_says("+OK\r\n");
    guest.says(pipeline(&["MULTI", "SUBSCRIBE a", "EXEC"]));
    assert_eq!(guest.sent().as_bytes(), pipeline(&["WATCH a", "MULTI"]));
    guest.server_says("+OK\r\n");
    assert!(guest.told().contains("cannot be used in a transaction") && guest.is_closed());
}

#[test]
fn a_subscription_keeps_a_connection_of_its_own_part() {
    let host = host(r#"{"pool":{"cluster":"redis","long_lived":3}}"#);
    let guest = Guest::new(&host);
    guest.says(pipeline(&["GET a", "SUBSCRIBE c d"])).lend();
    assert_eq!(guest.sent().as_bytes(), command("GET a"));
    guest.server_says("$-1\r\n");
    let lease = host.leases(guest.id).remove(1);
    assert_eq!((lease.share.as_str(), lease.most), ("long-lived", 3));
    guest.lend().server_says("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nd\r\n:2\r\n");
    guest.heard();
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
    guest.server_says(message);
    assert_eq!(guest.heard(), message);
    guest.asks("PSUBSCRIBE e*").server_says("*3\r\n$10\r\npsubscribe\r\n$2\r\ne*\r\n:3\r\n");
    guest
        .asks("UNSUBSCRIBE")
        .server_says("*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:2\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nd\r\n:1\r\n");
    assert_eq!(guest.lease(), Some(LeaseState::Lent));
    guest.asks("PUNSUBSCRIBE e*").server_says("*3\r\n$12\r\npunsubscribe\r\n$2\r\ne*\r\n:0\r\n");
    assert_eq!(guest.lease(), Some(LeaseState::Released));
    assert!(!guest.is_closed());
}

#[test]
fn commands_that_wait_are_alone_and_nobody_goes_behind_them() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.says(pipeline(&["BLPOP a 0", "GET b"])).lend();
    assert_eq!(
        (guest.sent().as_bytes(), host.leases(guest.id)[0].share.as_str()),
        (command("BLPOP a 0").as_slice(), "long-lived")
    );
    guest.server_says("*2\r\n$1\r\na\r\n$1\r\n1\r\n").lend();
    assert_eq!((guest.sent().as_bytes(), host.leases(guest.id)[1].share.as_str()), (command("GET b").as_slice(), ""));
    let guest = Guest::new(&host);
    guest.asks("XREAD COUNT 1 BLOCK 0 STREAMS a 0");
    assert_eq!(host.leases(guest.id)[0].share, "long-lived");
    let guest = Guest::new(&host);
    guest.asks("MONITOR").lend().server_says("+OK\r\n+1.2 [0 a] \"get\"\r\n+1.3 [0 a] \"get\"\r\n");
    assert_eq!((guest.lease(), guest.heard().len()), (Some(LeaseState::Lent), 5 + 2 * 18));
}

#[test]
fn large_commands_go_before_they_are_whole() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.says("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000000\r\n").says(vec![b'x'; 30 << 10]);
    assert_eq!(guest.lease(), None);
    guest.says(vec![b'x'; 30 << 10]).lend();
    assert_eq!(guest.sent().len(), 32 + (60 << 10));
    // What follows is shown, so that its end is known even if the connection is lost, but it is not read.
    host.connection(guest.id, |state| assert_eq!(state.passages[0].skip, 0));
    guest.says(vec![b'x'; 100_000_000 - (60 << 10)]).says("\r").says("\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    assert_eq!(guest.leases(), 1);
    guest.server_says("+OK\r\n");
    assert_eq!((guest.leases(), guest.lease()), (2, Some(LeaseState::Asked)));
    assert_eq!(metric("redis_request_bytes_total", &["set", ""]), 100_000_034);
}

#[test]
fn bodies_of_replies_are_not_shown_and_end_the_exchange_with_their_end() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("GET a").lend().server_says("$5000000\r\n").server_says([b'x'; 100]);
    host.connection(guest.id, |state| assert_eq!(state.passages[1].skip, 5_000_000 - 100));
    guest.server_says(vec![b'x'; 5_000_000 - 100]);
    assert_eq!(guest.lease(), Some(LeaseState::Lent));
    guest.server_says("\r\n");
    assert_eq!(guest.lease(), Some(LeaseState::Released));
}

#[test]
fn a_client_that_has_said_everything_still_gets_its_answers() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    host.send(Side::Downstream, guest.id, &pipeline(&["GET a", "BLPOP b 0"]), true);
    guest.lend().server_says("$-1\r\n").lend().server_says("*-1\r\n");
    assert_eq!(guest.heard(), "$-1\r\n*-1\r\n");
}

#[test]
fn new_connections_are_brought_to_where_their_identity_says() {
    for (pool, identity, talk) in [
        ("", "db=0;resp=2", &[][..]),
        ("", "db=3;resp=2", &[("SELECT 3", "+OK\r\n")][..]),
        (r#","password":"p""#, "db=0;resp=2", &[("AUTH p", "+OK\r\n")]),
        (r#","user":"u","password":"p""#, "db=1;resp=2", &[("AUTH u p", "+OK\r\n"), ("SELECT 1", "+OK\r\n")]),
        (
            r#","user":"u","password":"p""#,
            "db=0;resp=3",
            &[("HELLO 3 AUTH u p", "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n+modules\r\n*0\r\n")],
        ),
        (r#","password":"p""#, "db=0;resp=3", &[("HELLO 3 AUTH default p", "%0\r\n")]),
    ] {
        let host = host(&format!(r#"{{"pool":{{"cluster":"redis"{pool}}}}}"#));
        let fresh = host.open("redis", "10.0.0.1:6379", identity.as_bytes(), "");
        for (said, reply) in talk {
            assert_eq!(host.written(Side::Upstream, fresh), command(said));
            assert_eq!(host.verdict(fresh), None);
            for byte in reply.as_bytes() {
                host.send(Side::Upstream, fresh, &[*byte], false);
            }
        }
        assert_eq!(host.verdict(fresh), Some(Ok(())), "{identity}");
    }
    let host = host(POOL);
    for (identity, reply) in
        [("db=20;resp=2", "-ERR DB index is out of range\r\n"), ("db=1;resp=2", "HTTP/1.1 400\r\n")]
    {
        let fresh = host.open("redis", "10.0.0.1:6379", identity.as_bytes(), "");
        host.send(Side::Upstream, fresh, reply.as_bytes(), false);
        assert!(matches!(host.verdict(fresh), Some(Err(_))), "{reply}");
    }
}
