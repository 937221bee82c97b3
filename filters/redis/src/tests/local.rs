use fyke_sdk::testing::LeaseState;

use super::{Guest, POOL, command, host, metric, pipeline};

#[test]
fn the_database_and_the_protocol_are_the_connections_identity() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("SELECT 3");
    assert_eq!((guest.told().as_str(), guest.leases()), ("+OK\r\n", 0));
    guest.asks("HELLO 3");
    assert!(guest.told().starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"));
    guest.asks("GET a");
    assert_eq!(host.leases(guest.id)[0].identity, b"db=3;resp=3");
    guest.lend().server_says("_\r\n").asks("HELLO 2");
    assert!(guest.told().starts_with("*14\r\n"));
    for (line, told) in [
        ("SELECT 16", "-ERR DB index is out of range\r\n"),
        ("SELECT -1", "-ERR DB index is out of range\r\n"),
        ("SELECT x", "-ERR value is not an integer or out of range\r\n"),
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        ("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option\r\n"),
        ("HELLO 2 AUTH a b", "-ERR fyke: AUTH was called, but clients of this proxy have no password\r\n"),
    ] {
        assert_eq!(guest.asks(line).told(), told, "{line}");
    }
    guest.asks("GET a");
    assert_eq!(host.leases(guest.id)[1].identity, b"db=3;resp=2");
}

#[test]
fn what_is_about_one_connection_is_answered_here_or_refused() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    for (line, told) in [
        ("CLIENT GETNAME", "$-1\r\n"),
        ("CLIENT SETNAME me", "+OK\r\n"),
        ("client getname", "$2\r\nme\r\n"),
        ("CLIENT SETINFO LIB-NAME x", "+OK\r\n"),
        ("CLIENT REPLY ON", "+OK\r\n"),
        ("RESET", "+RESET\r\n"),
        ("CLIENT GETNAME", "$-1\r\n"),
    ] {
        assert_eq!(guest.asks(line).told(), told, "{line}");
    }
    for line in [
        "CLIENT REPLY OFF",
        "CLIENT TRACKING ON",
        "CLIENT NO-EVICT on",
        "CLIENT ID",
        "CLIENT",
        "CLIENT SETNAME",
        "READONLY",
        "ASKING",
        "PSYNC ? -1",
        "AUTH a",
        "SCRIPT DEBUG YES",
    ] {
        let told = guest.asks(line).told();
        assert!(told.starts_with("-ERR ") && told.ends_with("\r\n"), "{line}: {told}");
    }
    assert_eq!(guest.leases(), 0);
    assert_eq!(metric("redis_answered_here_total", &["asking", "refused"]), 1);
    guest.asks("CLIENT LIST");
    assert_eq!(guest.lease(), Some(LeaseState::Asked));
}

#[test]
fn answers_keep_their_place_among_replies() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.says(pipeline(&["SELECT 1", "GET a", "SELECT 2", "CLIENT GETNAME", "GET b"])).says("\r\n*0\r\n");
    assert_eq!(guest.told(), "+OK\r\n");
    guest.lend();
    assert_eq!((guest.sent().as_bytes(), guest.told().as_str()), (command("GET a").as_slice(), ""));
    guest.server_says("$1\r\na\r\n");
    assert_eq!(
        (guest.told().as_str(), host.leases(guest.id)[1].identity.as_slice()),
        ("+OK\r\n$-1\r\n", &b"db=2;resp=2"[..])
    );
    guest.lend();
    assert_eq!(guest.sent().as_bytes(), command("GET b"));
}

#[test]
fn many_answers_in_one_piece_are_all_given() {
    let host = host(r#"{"pool":{"cluster":"redis","batch":3}}"#);
    let guest = Guest::new(&host);
    guest.says(command("SELECT 1").repeat(1000));
    assert_eq!(guest.told(), "+OK\r\n".repeat(1000));
}

#[test]
fn clients_may_have_to_say_who_they_are() {
    let host = host(r#"{"pool":{"cluster":"redis","clients":{"user":"app","password":"secret"}}}"#);
    let guest = Guest::new(&host);
    for (line, told) in [
        ("GET a", "-NOAUTH Authentication required.\r\n"),
        ("SELECT 1", "-NOAUTH Authentication required.\r\n"),
        ("AUTH secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        ("AUTH app secre", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        ("AUTH app secrett", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
    ] {
        assert_eq!(guest.asks(line).told(), told, "{line}");
    }
    assert!(guest.asks("HELLO 3").told().starts_with("-NOAUTH"));
    assert_eq!(guest.leases(), 0);
    guest.says(pipeline(&["AUTH app secret", "GET a"]));
    assert_eq!((guest.told().as_str(), guest.lease()), ("+OK\r\n", Some(LeaseState::Asked)));
    let guest = Guest::new(&host);
    guest.asks("HELLO 3 AUTH app secret SETNAME x").asks("GET a");
    assert_eq!((guest.told().starts_with("%7"), guest.lease()), (true, Some(LeaseState::Asked)));
    let guest = Guest::new(&host);
    guest.says("*2\r\n$3\r\nGET\r\n$100000\r\n").says(vec![b'x'; 100_000]).says("\r\n").asks("AUTH app secret");
    assert_eq!(guest.told(), "-NOAUTH Authentication required.\r\n+OK\r\n");
}

#[test]
fn inside_of_a_state_it_cannot_be_changed() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("WATCH a").lend().server_says("+OK\r\n");
    assert!(guest.asks("SELECT 1").told().starts_with("-ERR fyke: the database cannot be changed"));
    assert!(guest.asks("HELLO 3").told().starts_with("-ERR fyke: the protocol cannot be changed"));
    assert_eq!(guest.asks("SELECT 0").told(), "+OK\r\n");
    assert!(!guest.is_closed());
    for line in ["SELECT 1", "SUBSCRIBE a", "MONITOR", "CLIENT SETNAME a"] {
        let guest = Guest::new(&host);
        guest.asks("MULTI").lend().server_says("+OK\r\n").asks(line);
        assert!(guest.told().contains("cannot be used in a transaction") && guest.is_closed(), "{line}");
    }
}

#[test]
fn a_reset_closes_what_is_held_and_the_end_is_an_end() {
    let host = host(POOL);
    let guest = Guest::new(&host);
    guest.asks("SELECT 2").asks("MULTI").lend().server_says("+OK\r\n").asks("RESET");
    assert_eq!(guest.told(), "+OK\r\n+RESET\r\n");
    assert!(matches!(guest.lease(), Some(LeaseState::Closed(_))));
    guest.asks("GET a");
    assert_eq!(host.leases(guest.id)[1].identity, b"db=0;resp=2");
    guest.lend().server_says("$-1\r\n").says(pipeline(&["QUIT", "GET b"]));
    assert_eq!(guest.told(), "+OK\r\n");
    assert!(guest.is_closed());
}
