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
fn what_the_host_takes_back_has_taken_too_long() {
    let host = known();
    let (client, _) = host.connect();
    // A client may stop for 30 s, a server for as long as it is well.
    assert_eq!(host.connection(client, |state| state.lease_limits), (0, 30_000));
    host.send(Downstream, client, &find(1), false);
    host.lend(client, PRIMARY);
    host.take_back(client);
    assert_eq!(told(&host, client).0, 89);
    assert_eq!(count("mongo_pool_broken_total{reason=timeout}"), 1);
}

#[test]
fn a_refused_lease_is_an_error_that_drivers_try_again() {
    for (reason, code, labels) in [
        (Reason::Timeout, 262, &["SystemOverloadedError", "RetryableError"][..]),
        (Reason::Busy, 262, &["SystemOverloadedError", "RetryableError"]),
        (Reason::Connect, 6, &[]),
        (Reason::NoEndpoint, 6, &[]),
    ] {
        let host = pool(r#"{"pool": {"cluster": "db", "selection_timeout": "0s"}}"#);
        opened(&host, PRIMARY);
        opened(&host, SECONDARY);
        let (client, _) = host.connect();
        host.send(Downstream, client, &[find(1), find(2)].concat(), false);
        host.refuse(client, reason, "");
        // Nobody has that role, or who has it is away: the others are asked what they are, and then it is asked for once more.
        let more = match reason {
            Reason::NoEndpoint | Reason::Connect => 3,
            _ => 0,
        };
        for _ in 0..more {
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
fn a_client_that_says_nothing_more_while_it_is_owed_a_reply_is_gone() {
    // Whatever it waits for: a server, or its answer.
    for is_lent in [false, true] {
        let host = known();
        let (client, _) = host.connect();
        host.send(Downstream, client, &find(1), false);
        if is_lent {
            host.lend(client, PRIMARY);
            assert_eq!(host.take(Downstream, client), find(1));
        }
        host.send(Downstream, client, &[], true);
        let state = last(&host, client).state;
        assert_eq!(matches!(state, LeaseState::Closed(_)), is_lent, "{state:?}");
        assert_eq!(matches!(state, LeaseState::GivenUp), !is_lent, "{state:?}");
        assert!(host.connection(client, |state| !state.closed_sides.is_empty()));
        assert_eq!(count("mongo_cx_destroy_remote_with_active_rq_total{}"), 1);
    }
    // What asks for no reply goes on.
    let host = known();
    let (client, _) = host.connect();
    let insert = doc! { "insert": "users", "documents": [{ "a": 1 }], "writeConcern": { "w": 0 }, "$db": "shop" };
    let unacknowledged = message(1, 0, opcode::MSG, &msg_body(2, &[Section::Body(insert)]));
    host.send(Downstream, client, &unacknowledged, true);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), unacknowledged);
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
        assert_eq!(count("mongo_op_query_active"), 0);
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
    assert_eq!(told(&host, client).0, 10107);
    assert!(host.leases(client).is_empty());
    exchange(&host, client, PRIMARY, &find(3), &found(3, 0));
    assert_eq!(count("mongo_pool_refused_total{reason=writes_denied}"), 1);
    assert_eq!(count("mongo_op_query_active"), 0);
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
        (r#"{"pool": {"cluster": "db", "others": [""]}}"#, "pool.others[0]"),
        (r#"{"pool": {"cluster": "db", "others": ["x", "db"]}}"#, "pool.others[1]"),
        (r#"{"pool": {"cluster": "db", "others": ["x", "x"]}}"#, "pool.others[1]"),
        (r#"{"pool": {"cluster": "db", "users": {"a": {}}}}"#, "pool.users"),
        (r#"{"pool": {"cluster": "db", "clients": "scram"}}"#, "pool.users"),
        (r#"{"pool": {"cluster": "db", "clients": "scram", "users": {"a": {}}}}"#, "pool.users.a"),
        (
            r#"{"pool": {"cluster": "db", "clients": "scram", "users": {"a": {"upstream": {"user": "x", "password": ""}}}}}"#,
            "pool.users.a.upstream.password",
        ),
    ] {
        let refusal = TcpHost::<Mongo>::configure(configuration).err().unwrap();
        assert_eq!(refusal.path(), path, "{configuration}: {refusal}");
    }
}

#[test]
fn the_cluster_has_a_name_of_its_own_accord() {
    let host = TcpHost::<Mongo>::configure_in(r#"{"pool": {}}"#, |world| world.add_endpoint("mongo", PRIMARY)).unwrap();
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    assert_eq!(last(&host, client).cluster, "mongo");
}

#[test]
fn without_shared_data_a_worker_knows_what_it_has_seen_itself() {
    let host = TcpHost::<Mongo>::configure_in(r#"{"pool": {"cluster": "db"}}"#, |world| {
        world.shares = false;
        world.add_endpoint("db", PRIMARY);
        world.add_endpoint("db", SECONDARY);
    })
    .unwrap();
    opened(&host, PRIMARY);
    opened(&host, SECONDARY);
    host.advance(std::time::Duration::from_millis(1));
    let (client, _) = host.connect();
    exchange(&host, client, PRIMARY, &find(1), &found(1, 77));
    let (other, _) = host.connect();
    let more = command(2, &doc! { "getMore": 77_i64, "collection": "users", "$db": "shop" });
    host.send(Downstream, other, &more, false);
    assert_eq!(last(&host, other).endpoint, PRIMARY);
}

#[test]
fn of_many_requests_that_are_answered_here_a_part_is_answered_at_once() {
    let host = known();
    let (client, _) = host.connect();
    let hello = command(1, &doc! { "hello": 1, "$db": "admin" });
    host.send(Downstream, client, &hello.repeat(1000), false);
    let answers = || count("mongo_pool_answered_total{}");
    assert!((100..600).contains(&answers()), "{}", answers());
    for _ in 0..9 {
        host.advance(std::time::Duration::from_millis(1));
    }
    assert_eq!(answers(), 1000);
    exchange(&host, client, PRIMARY, &find(2), &found(2, 0));
}
