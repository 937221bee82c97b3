//! What becomes of exchanges that fail, and of what is refused.

use fyke_sdk::lease::Reason;

use super::*;

#[test]
fn a_lost_server_is_an_error_before_the_reply_and_an_end_within_it() {
    let host = known();
    let (client, _) = host.connect();
    host.send(Downstream, client, &[find(1), find(2)].concat(), false);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), find(1));
    // Not even a header.
    host.send(Upstream, client, &found(1, 0)[..12], false);
    assert_eq!(host.take(Upstream, client), b"");
    host.lose(client);
    assert_eq!(told(&host, client).0, 6);
    // The server is asked what it is before the next request goes anywhere; another one that answers nothing is given up.
    assert_eq!(last(&host, client).endpoint, PRIMARY);
    host.refuse(client, Reason::Connect, "");
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), find(2));
    let answer = found(2, 0);
    host.send(Upstream, client, &answer[..40], false);
    assert_eq!(host.take(Upstream, client), answer[..40]);
    host.lose(client);
    assert!(host.written(Downstream, client).is_empty());
    assert!(host.connection(client, |state| !state.closed_sides.is_empty()));
    assert_eq!(count("mongo_pool_broken_total{reason=lost}"), 2);
}

#[test]
fn a_refused_lease_is_an_error_that_drivers_try_again() {
    for (reason, code, labels) in [
        (Reason::Timeout, 262, &["SystemOverloadedError", "RetryableError"][..]),
        (Reason::Busy, 262, &["SystemOverloadedError", "RetryableError"]),
        (Reason::Connect, 6, &[]),
        (Reason::NoEndpoint, 6, &[]),
    ] {
        let host = known();
        let (client, _) = host.connect();
        host.send(Downstream, client, &[find(1), find(2)].concat(), false);
        host.refuse(client, reason, "");
        // Nobody has that role: all are asked what they are, and then it is asked for once more.
        for _ in 0..if reason == Reason::NoEndpoint { 3 } else { 0 } {
            assert!(host.written(Downstream, client).is_empty());
            host.refuse(client, reason, "");
        }
        let (told, said) = told(&host, client);
        assert_eq!((told, said.iter().map(String::as_str).collect::<Vec<_>>()), (code, labels.to_vec()), "{reason:?}");
        if reason != Reason::NoEndpoint {
            host.lend(client, PRIMARY);
            assert_eq!(host.take(Downstream, client), find(2));
        }
    }
}

#[test]
fn what_is_no_reply_never_reaches_a_client() {
    let stray = found(9, 0);
    let compressed = message(5, 1, opcode::COMPRESSED, &[0; 20]);
    let nonsense = [&[1, 0, 0, 0][..], &[0; 20]].concat();
    for bytes in [stray, compressed, nonsense] {
        let host = known();
        let (client, _) = host.connect();
        host.send(Downstream, client, &find(1), false);
        host.lend(client, PRIMARY);
        host.send(Upstream, client, &bytes, false);
        assert_eq!(host.take(Upstream, client), b"");
        assert!(matches!(last(&host, client).state, LeaseState::Closed(_)));
        assert_eq!(told(&host, client).0, 6);
    }
    // Something behind a reply: the reply is the client's, the connection nobody's.
    let host = known();
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    host.lend(client, PRIMARY);
    host.send(Upstream, client, &[found(1, 0), vec![1]].concat(), false);
    assert_eq!(host.written(Downstream, client), found(1, 0));
    assert!(matches!(last(&host, client).state, LeaseState::Closed(_)));
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    for (step, expected) in [(0, LeaseState::GivenUp), (1, LeaseState::Closed("the client is gone".to_owned()))] {
        let host = known();
        let (client, _) = host.connect();
        host.send(Downstream, client, &find(1), false);
        if step == 1 {
            host.lend(client, PRIMARY);
        }
        host.close(Downstream, client);
        assert_eq!(last(&host, client).state, expected);
        assert_eq!(count("mongo_op_query_active{}"), 0);
        host.finish(client);
        assert_eq!(host.connections(), 0);
    }
}

#[test]
fn rules_and_switches_hold_and_nothing_is_borrowed_for_them() {
    let host =
        pool(r#"{"pool": {"cluster": "db", "writes": "deny"}, "rules": [{"action": "deny", "commands": ["drop"]}]}"#);
    opened(&host, PRIMARY);
    opened(&host, SECONDARY);
    let (client, _) = host.connect();
    host.send(Downstream, client, &command(1, &doc! { "drop": "users", "$db": "shop" }), false);
    assert_eq!(told(&host, client).0, 13);
    host.send(Downstream, client, &command(2, &doc! { "insert": "users", "$db": "shop" }), false);
    assert_eq!(told(&host, client), (10107, vec!["RetryableWriteError".to_owned(), "NoWritesPerformed".to_owned()]));
    assert!(host.leases(client).is_empty());
    exchange(&host, client, PRIMARY, &find(3), &found(3, 0));
    assert_eq!(count("mongo_pool_refused_total{reason=writes_denied}"), 1);
    assert_eq!(count("mongo_op_query_active{}"), 0);
}

#[test]
fn messages_that_are_not_taken_end_the_connection() {
    for kind in [opcode::COMPRESSED, opcode::INSERT, opcode::GET_MORE, 77] {
        let host = known();
        let (client, _) = host.connect();
        host.send(Downstream, client, &message(1, 0, kind, &[0; 64]), false);
        assert!(host.connection(client, |state| !state.closed_sides.is_empty()), "{kind}");
        assert_eq!(host.take(Downstream, client), b"");
    }
}

#[test]
fn a_configuration_is_checked() {
    for (configuration, path) in [
        (r#"{"pool": {"cluster": ""}}"#, "pool.cluster"),
        (r#"{"pool": {"cluster": "db", "password": "x"}}"#, "pool.password"),
        (r#"{"pool": {"cluster": "db", "user": "x"}}"#, "pool.password"),
        (r#"{"pool": {"cluster": "db", "mechanism": "PLAIN"}}"#, "pool.mechanism"),
        (r#"{"pool": {"cluster": "db", "sise": 3}}"#, "pool.sise"),
    ] {
        let refusal = TcpHost::<Mongo>::configure(configuration).err().unwrap();
        assert_eq!(refusal.path(), path, "{configuration}: {refusal}");
    }
}
