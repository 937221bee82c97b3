use fyke_sdk::lease::Reason;
use fyke_sdk::testing::LeaseState;

use super::{Guest, POOL, command, host, metric, pipeline};

#[test]
fn who_gets_no_connection_is_told_so() {
    let host = host(POOL);
    for (reason, told) in [
        (Reason::Timeout, "-ERR fyke: no connection to the server came free in time: a b\r\n"),
        (Reason::NoEndpoint, "-ERR fyke: there is no server: a b\r\n"),
        (Reason::Busy, "-ERR fyke: too many wait for a connection to the server, or hold one: a b\r\n"),
        (Reason::Connect, "-ERR fyke: the server cannot be reached: a b\r\n"),
        (Reason::Handshake, "-ERR fyke: the server does not let the proxy in: a b\r\n"),
    ] {
        let guest = Guest::new(&host);
        guest.says(pipeline(&["GET a", "GET b", "SELECT 1", "GET c"]));
        host.refuse(guest.id, reason, "a\nb");
        assert_eq!(guest.told(), format!("{told}{told}+OK\r\n"));
        guest.lend();
        assert_eq!((guest.sent().as_bytes(), guest.is_closed()), (command("GET c").as_slice(), false));
    }
    assert_eq!(metric("redis_unserved_total", &["busy"]), 1);
}

#[test]
fn a_large_command_that_is_not_served_goes_nowhere() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.says("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n").says(vec![b'x'; 50_000]);
    host.refuse(guest.id, Reason::Timeout, "");
    assert_eq!(guest.told(), "-ERR fyke: no connection to the server came free in time\r\n");
    guest.says(vec![b'x'; 50_000]).says("\r\n").asks("GET a").lend();
    assert_eq!(guest.sent().as_bytes(), command("GET a"));
}

#[test]
fn who_loses_the_connection_before_an_answer_is_told_so() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.says(pipeline(&["INCR a", "INCR b", "INCR c"])).lend().server_says(":1\r\n").asks("GET d");
    host.lose(guest.id);
    let told = guest.told();
    assert_eq!(
        (told.matches("-ERR fyke: the connection to the server was lost").count(), told.lines().count()),
        (2, 2)
    );
    assert_eq!((guest.heard().as_str(), guest.is_closed(), guest.lease()), (":1\r\n", false, Some(LeaseState::Asked)));
    guest.lend().server_says("$-1\r\n");
    assert_eq!(guest.heard(), "$-1\r\n");
}

#[test]
fn half_an_answer_is_none() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("GET a").lend().server_says("$5\r\nab");
    host.lose(guest.id);
    assert_eq!((guest.told().as_str(), guest.is_closed()), ("", true));
}

#[test]
fn who_loses_a_state_does_not_go_on() {
    for line in ["MULTI", "WATCH a"] {
        let host = host(POOL);
        let guest = Guest::new(&host);
        guest.asks(line).lend().server_says("+OK\r\n").asks("SET a 1");
        host.lose(guest.id);
        assert!(guest.told().starts_with("-ERR fyke: the connection") && guest.is_closed(), "{line}");
        let guest = Guest::new(&host);
        guest.asks(line).lend();
        host.lose(guest.id);
        assert!(guest.is_closed(), "{line}");
        let guest = Guest::new(&host);
        guest.asks(line);
        host.refuse(guest.id, Reason::Busy, "");
        assert!(guest.told().starts_with("-ERR fyke") && guest.is_closed(), "{line}");
    }
}

#[test]
fn the_rest_of_a_command_whose_connection_is_lost_goes_nowhere() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.says("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n").says(vec![b'x'; 50_000]).lend();
    host.lose(guest.id);
    assert!(guest.told().starts_with("-ERR fyke"));
    // What a value says is no command, wherever it was cut.
    guest.says("\r\n").says(command("FLUSHALL")).says(vec![b'x'; 50_000 - 2 - command("FLUSHALL").len()]).says("\r\n");
    assert_eq!((guest.leases(), guest.is_closed(), guest.sent().as_str()), (1, false, ""));
    guest.asks("GET a").lend();
    assert_eq!(guest.sent().as_bytes(), command("GET a"));
}

#[test]
fn what_the_server_says_unasked_closes_its_connection() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("GET a").lend().server_says("$-1\r\n$-1\r\n");
    assert_eq!((guest.heard().as_str(), guest.lease(), guest.is_closed()), ("$-1\r\n", Some(LeaseState::Dirty), false));
    let guest = Guest::new(&host);
    guest.asks("WATCH a").lend().server_says("+OK\r\n:1\r\n");
    assert!(guest.is_closed());
    assert_eq!(metric("redis_protocol_errors_total", &["upstream", "unasked"]), 1);
}

#[test]
fn a_client_that_says_nonsense_is_told_so_behind_the_answers_before() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("GET a").says("*1\r\n$x\r\n").lend();
    assert_eq!((guest.told().as_str(), guest.is_closed()), ("", false));
    guest.server_says("$-1\r\n");
    assert_eq!(
        (guest.heard().as_str(), guest.told().as_str()),
        ("$-1\r\n", "-ERR Protocol error: a length is no number or too large\r\n")
    );
    assert!(guest.is_closed());
    let guest = Guest::new(&host);
    guest.says("GET / HTTP/1.1\r\nHost: a\r\n").lend().server_says("-ERR wrong number of arguments\r\n");
    assert!(guest.is_closed());
}
