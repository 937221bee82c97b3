//! Operations for which there is no server yet.

use std::time::Duration;

use fyke_sdk::lease::Reason;

use super::*;

const MOMENT: Duration = Duration::from_millis(50);

/// What a member of the set says while nobody is primary.
pub(super) fn follower() -> Document {
    let mut said = hello(SECONDARY);
    said.insert("secondary", true);
    said.insert("isWritablePrimary", false);
    said
}

/// The server that is asked for answers the question what it is.
#[track_caller]
pub(super) fn says(host: &TcpHost<Mongo>, client: u32, server: &str, what: &Document) {
    assert_eq!(last(host, client).endpoint, server);
    host.lend_after(client, server, Duration::ZERO, true);
    let (number, _) = read(&host.written(Upstream, client));
    host.send(Upstream, client, &reply(number, what), false);
    assert_eq!(host.take(Upstream, client), b"");
}

/// Nobody is primary: both say so, and nobody has that label.
#[track_caller]
fn leaderless(host: &TcpHost<Mongo>, client: u32, request: &[u8]) {
    host.send(Downstream, client, request, false);
    assert_eq!(last(host, client).label, role("primary"));
    host.refuse(client, Reason::NoEndpoint, "");
    says(host, client, PRIMARY, &follower());
    says(host, client, SECONDARY, &follower());
    assert_eq!(last(host, client).label, role("primary"));
    host.refuse(client, Reason::NoEndpoint, "");
    assert!(host.written(Downstream, client).is_empty(), "it waits");
    assert_eq!(count("mongo_pool_searching"), 1);
}

/// They are asked again, in any order, until one says that it has won.
#[track_caller]
fn elected(host: &TcpHost<Mongo>, client: u32, primary: &str) {
    let mut server = String::new();
    while server != primary {
        server = last(host, client).endpoint;
        says(host, client, &server, &if server == primary { hello(PRIMARY) } else { follower() });
    }
    assert_eq!(last(host, client).label, role("primary"));
    host.lend(client, primary);
}

#[test]
fn whoever_needs_a_primary_waits_for_the_next_one() {
    let host = known();
    let (client, _) = host.connect();
    leaderless(&host, client, &find(1));
    let asked = host.leases(client).len();
    host.advance(MOMENT - Duration::from_millis(1));
    assert_eq!(host.leases(client).len(), asked);
    host.advance(Duration::from_millis(1));
    elected(&host, client, SECONDARY);
    assert_eq!(host.take(Downstream, client), find(1));
    assert_eq!(count("mongo_pool_searching"), 0);
    let answer = found(1, 0);
    host.send(Upstream, client, &answer, false);
    assert_eq!(host.take(Upstream, client), answer);
    // The next operation begins anew.
    exchange(&host, client, SECONDARY, &find(2), &found(2, 0));
}

#[test]
fn nobody_waits_longer_than_the_limit() {
    for (limit, waits) in [("2s", 2_000), ("0s", 0)] {
        let host = pool(&format!(r#"{{"pool": {{"cluster": "db", "selection_timeout": "{limit}"}}}}"#));
        opened(&host, PRIMARY);
        opened(&host, SECONDARY);
        let (client, _) = host.connect();
        host.send(Downstream, client, &find(1), false);
        let mut waited = 0;
        while host.leases(client).last().is_some_and(|lease| lease.state == LeaseState::Asked) || waited < waits {
            assert!(waited <= waits);
            assert!(host.written(Downstream, client).is_empty());
            refuse_all(&host, client);
            if waited < waits {
                host.advance(MOMENT);
                waited += 50;
            }
        }
        let (code, _) = told(&host, client);
        assert_eq!((code, waited), (6, waits));
        assert_eq!(count("mongo_pool_searching"), 0);
    }
}

#[test]
fn of_many_that_wait_one_asks_the_servers() {
    let host = known();
    let (first, _) = host.connect();
    leaderless(&host, first, &find(1));
    let (second, _) = host.connect();
    host.send(Downstream, second, &find(2), false);
    host.refuse(second, Reason::NoEndpoint, "");
    // What has changed may have changed again; what has not is left alone for a while.
    says(&host, second, SECONDARY, &follower());
    says(&host, second, PRIMARY, &follower());
    host.refuse(second, Reason::NoEndpoint, "");
    let (third, _) = host.connect();
    host.send(Downstream, third, &find(3), false);
    host.refuse(third, Reason::NoEndpoint, "");
    assert_eq!((host.leases(third).len(), count("mongo_pool_searching")), (1, 3));
    let asking = || [first, second, third].into_iter().filter(|client| last(&host, *client).state == LeaseState::Asked);
    let mut moments = 0;
    while asking().count() == 0 {
        moments += 1;
        assert!(moments <= 20, "nobody asks");
        host.advance(MOMENT);
    }
    assert!(moments >= 10, "not so soon");
    let asker: Vec<u32> = asking().collect();
    assert_eq!(asker.len(), 1);
    elected(&host, asker[0], SECONDARY);
    // The others know what it has learned.
    host.advance(MOMENT * 10);
    assert_eq!(asking().count(), 2);
    for client in asking().collect::<Vec<_>>() {
        assert_eq!(last(&host, client).label, role("primary"));
        host.lend(client, SECONDARY);
        assert!(!host.take(Downstream, client).is_empty());
    }
}

#[test]
fn a_read_that_prefers_the_primary_does_not_wait_for_it() {
    let host = known();
    let (client, _) = host.connect();
    let read = command(1, &doc! { "find": "users", "$db": "shop", "$readPreference": { "mode": "primaryPreferred" } });
    host.send(Downstream, client, &read, false);
    host.refuse(client, Reason::NoEndpoint, "");
    says(&host, client, PRIMARY, &follower());
    says(&host, client, SECONDARY, &follower());
    host.refuse(client, Reason::NoEndpoint, "");
    assert_eq!(last(&host, client).label, role("secondary"));
    host.lend(client, SECONDARY);
    assert_eq!(host.take(Downstream, client), read);
}

#[test]
fn what_one_server_has_is_not_waited_for() {
    let host = known();
    let (client, _) = host.connect();
    exchange(&host, client, PRIMARY, &find(1), &found(1, 77));
    let more = command(2, &doc! { "getMore": 77_i64, "collection": "users", "$db": "shop" });
    host.send(Downstream, client, &more, false);
    assert_eq!(last(&host, client).endpoint, PRIMARY);
    host.refuse(client, Reason::Connect, "");
    assert_eq!(told(&host, client).0, 6);
}

#[test]
fn a_client_that_leaves_waits_no_more() {
    let host = known();
    let (client, _) = host.connect();
    leaderless(&host, client, &find(1));
    host.close(Downstream, client);
    host.finish(client);
    assert_eq!((count("mongo_pool_searching"), host.connections()), (0, 0));
    // It asked for no answer any more, but still is there.
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    refuse_all(&host, client);
    host.send(Downstream, client, &[], true);
    host.advance(MOMENT);
    assert!(host.connection(client, |state| !state.closed_sides.is_empty()));
}

#[test]
fn servers_that_cannot_be_reached_are_waited_for() {
    let host =
        TcpHost::<Mongo>::configure_in(r#"{"pool": {"cluster": "db"}}"#, |world| world.add_endpoint("db", PRIMARY))
            .unwrap();
    let router =
        doc! { "isWritablePrimary": true, "msg": "isdbgrid", "maxWireVersion": 21, "minWireVersion": 0, "ok": 1.0 };
    opened_as(&host, "db", PRIMARY, &router);
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    assert_eq!((last(&host, client).endpoint.as_str(), last(&host, client).label), ("", None));
    host.refuse(client, Reason::Connect, &format!("cannot connect to {PRIMARY}"));
    host.advance(MOMENT);
    // It is asked what it is before anything goes there.
    host.refuse(client, Reason::Connect, &format!("cannot connect to {PRIMARY}"));
    refuse_all(&host, client);
    assert!(host.written(Downstream, client).is_empty());
    host.advance(Duration::from_secs(1));
    says(&host, client, PRIMARY, &router);
    host.lend(client, PRIMARY);
    assert_eq!(host.take(Downstream, client), find(1));
}

#[test]
fn an_election_that_was_learned_of_already_is_not_doubted() {
    let host = known();
    let (first, _) = host.connect();
    let (second, _) = host.connect();
    for client in [first, second] {
        host.send(Downstream, client, &find(1), false);
        host.lend(client, PRIMARY);
        assert_eq!(host.take(Downstream, client), find(1));
    }
    let refusal = reply(1, &doc! { "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary" });
    host.send(Upstream, first, &refusal, false);
    assert_eq!(host.take(Upstream, first), refusal);
    host.send(Downstream, first, &find(2), false);
    says(&host, first, PRIMARY, &follower());
    says(&host, first, SECONDARY, &hello(PRIMARY));
    host.lend(first, SECONDARY);
    assert_eq!(host.take(Downstream, first), find(2));
    // This one was sent before the election, and is refused after it.
    host.send(Upstream, second, &refusal, false);
    assert_eq!(host.take(Upstream, second), refusal);
    host.send(Downstream, second, &find(2), false);
    assert_eq!(last(&host, second).label, role("primary"), "nobody is asked again");
    host.lend(second, SECONDARY);
    assert_eq!(host.take(Downstream, second), find(2));
    // Another election, at once.
    host.send(Upstream, second, &reply(2, &doc! { "ok": 0.0, "code": 10107 }), false);
    host.send(Downstream, second, &find(3), false);
    assert_ne!(last(&host, second).endpoint, "", "all are asked again");
}

#[test]
fn nobody_waits_longer_than_it_says_and_not_at_all_to_tidy_up() {
    let host = known();
    let (client, _) = host.connect();
    let find = command(1, &doc! { "find": "users", "maxTimeMS": 120, "$db": "shop" });
    leaderless(&host, client, &find);
    for _ in 0..3 {
        assert!(host.written(Downstream, client).is_empty());
        host.advance(MOMENT);
        while host.leases(client).last().is_some_and(|lease| lease.state == LeaseState::Asked) {
            host.refuse(client, Reason::NoEndpoint, "");
        }
    }
    assert_eq!((told(&host, client).0, count("mongo_pool_searching")), (6, 0));
    for tidies in
        [doc! { "ping": 1, "$db": "admin" }, doc! { "killCursors": "users", "cursors": [5_i64], "$db": "shop" }]
    {
        host.send(Downstream, client, &command(2, &tidies), false);
        refuse_all(&host, client);
        assert_eq!((told(&host, client).0, count("mongo_pool_searching")), (6, 0), "{tidies}");
    }
}

#[test]
fn what_is_full_is_not_asked_again_and_again() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    assert_eq!(last(&host, client).endpoint, PRIMARY);
    host.refuse(client, Reason::Busy, "");
    assert_eq!((told(&host, client).0, host.leases(client).len()), (262, 1));
}
