//! Servers that are not what they were, or do not say what they are.

use std::time::Duration;

use bson::oid::ObjectId;
use fyke_sdk::lease::Reason;

use super::elections::{follower, says};
use super::*;

/// What a member says while it catches up: it serves nobody.
fn recovering() -> Document {
    let mut said = follower();
    said.insert("secondary", false);
    said
}

fn prefers_secondaries(number: i32) -> Vec<u8> {
    command(number, &doc! { "find": "users", "$db": "shop", "$readPreference": { "mode": "secondaryPreferred" } })
}

/// Whoever is asked what it is says this.
#[track_caller]
fn asked(host: &TcpHost<Mongo>, client: u32, said: impl Fn(&str) -> Document) -> usize {
    let mut count = 0;
    while !last(host, client).endpoint.is_empty() {
        let server = last(host, client).endpoint;
        says(host, client, &server, &said(&server));
        count += 1;
    }
    count
}

#[test]
fn a_server_that_does_not_say_what_it_is_is_not_waited_for() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    assert_eq!(last(&host, client).endpoint, PRIMARY);
    host.lend_after(client, PRIMARY, Duration::ZERO, true);
    assert!(!host.written(Upstream, client).is_empty(), "it is asked");
    host.advance(Duration::from_millis(1_999));
    assert_eq!(last(&host, client).endpoint, PRIMARY);
    host.advance(Duration::from_millis(1));
    assert!(matches!(states(&host, client)[0], LeaseState::Closed(_)));
    says(&host, client, SECONDARY, &hello(PRIMARY));
    served(&host, client, SECONDARY, &find(1), &found(1, 0));
    // Nothing of the waiting is left.
    exchange(&host, client, SECONDARY, &find(2), &found(2, 0));
}

#[test]
fn each_server_is_asked_once_before_the_operation_is_tried() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    for server in [PRIMARY, SECONDARY] {
        assert_eq!(last(&host, client).endpoint, server);
        // So long that the one before may be asked again.
        host.advance(Duration::from_secs(6));
        host.refuse(client, Reason::Connect, &format!("cannot connect to {server}"));
    }
    assert_eq!(last(&host, client).endpoint, "");
    refuse_all(&host, client);
    let mut waited = 12;
    while count("mongo_pool_searching") > 0 {
        waited += 1;
        assert!(waited < 30, "it ends");
        host.advance(Duration::from_secs(1));
        refuse_all(&host, client);
    }
    assert_eq!(told(&host, client).0, 6);
}

#[test]
fn a_read_that_prefers_a_role_finds_who_has_it_again() {
    let host = known();
    let (client, _) = host.connect();
    host.send(Downstream, client, &prefers_secondaries(1), false);
    host.refuse(client, Reason::NoEndpoint, "");
    let now = |server: &str| if server == PRIMARY { hello(PRIMARY) } else { recovering() };
    assert_eq!(asked(&host, client, now), 2);
    host.refuse(client, Reason::NoEndpoint, "");
    served(&host, client, PRIMARY, &prefers_secondaries(1), &found(1, 0));
    // It has caught up.
    host.advance(Duration::from_secs(2));
    host.send(Downstream, client, &prefers_secondaries(2), false);
    host.refuse(client, Reason::NoEndpoint, "");
    assert!(asked(&host, client, hello) > 0);
    assert_eq!(last(&host, client).label, role("secondary"));
    host.lend(client, SECONDARY);
    assert_eq!(host.take(Downstream, client), prefers_secondaries(2));
}

#[test]
fn a_secondary_that_is_none_any_more_is_asked_what_it_is() {
    let host = known();
    let (client, _) = host.connect();
    let refusal = reply(1, &doc! { "ok": 0.0, "code": 13436, "codeName": "NotPrimaryOrSecondary" });
    exchange(&host, client, SECONDARY, &prefers_secondaries(1), &refusal);
    host.send(Downstream, client, &prefers_secondaries(2), false);
    says(&host, client, SECONDARY, &recovering());
    assert_eq!(last(&host, client).label, role("secondary"));
    host.refuse(client, Reason::NoEndpoint, "");
    assert_eq!(asked(&host, client, |server| if server == PRIMARY { hello(PRIMARY) } else { recovering() }), 2);
    // It is left alone for a while, and asked again then.
    host.refuse(client, Reason::NoEndpoint, "");
    served(&host, client, PRIMARY, &prefers_secondaries(2), &found(2, 0));
    host.advance(Duration::from_secs(29));
    exchange(&host, client, PRIMARY, &find(3), &found(3, 0));
    host.advance(Duration::from_secs(2));
    host.send(Downstream, client, &find(4), false);
    says(&host, client, SECONDARY, &hello(SECONDARY));
    served(&host, client, PRIMARY, &find(4), &found(4, 0));
    host.send(Downstream, client, &prefers_secondaries(5), false);
    assert_eq!(last(&host, client).label, role("secondary"));
    host.lend(client, SECONDARY);
}

/// As of so many changes of it.
fn as_of(counter: i64, mut said: Document) -> Document {
    said.insert("topologyVersion", doc! { "processId": ObjectId::from_bytes([1; 12]), "counter": counter });
    said
}

#[test]
fn a_greeting_that_was_overtaken_by_an_error_makes_nobody_primary() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    opened_as(&host, "db", PRIMARY, &as_of(1, hello(PRIMARY)));
    opened(&host, SECONDARY);
    let (client, _) = host.connect();
    let refusal = as_of(2, doc! { "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary" });
    exchange(&host, client, PRIMARY, &find(1), &reply(1, &refusal));
    // A connection that was greeted before the election.
    opened_as(&host, "db", PRIMARY, &as_of(1, hello(PRIMARY)));
    host.send(Downstream, client, &find(2), false);
    // It is asked, and so is the other one.
    says(&host, client, PRIMARY, &as_of(2, follower()));
    says(&host, client, SECONDARY, &hello(PRIMARY));
    served(&host, client, SECONDARY, &find(2), &found(2, 0));
    // What was refused late says nothing of the present.
    opened_as(&host, "db", PRIMARY, &as_of(3, hello(PRIMARY)));
    opened_as(&host, "db", SECONDARY, &follower());
    exchange(&host, client, PRIMARY, &find(3), &reply(3, &refusal));
    exchange(&host, client, PRIMARY, &find(4), &found(4, 0));
}

/// What a primary says that was elected in this term.
fn elected(term: u8) -> Document {
    let mut said = hello(PRIMARY);
    said.extend(doc! { "setVersion": 1, "electionId": ObjectId::from_bytes([term; 12]) });
    said
}

#[test]
fn of_two_that_say_they_are_primary_the_one_elected_last_is() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    opened_as(&host, "db", SECONDARY, &elected(2));
    opened_as(&host, "db", PRIMARY, &elected(1));
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    // Whoever says so without being it is asked again.
    says(&host, client, PRIMARY, &elected(1));
    assert_eq!(last(&host, client).label, role("primary"));
    host.lend(client, SECONDARY);
    assert_eq!(host.take(Downstream, client), find(1));
}

#[test]
fn a_primary_that_has_left_says_nothing_against_the_next_one() {
    let host = pool(r#"{"pool": {"cluster": "db"}}"#);
    opened_as(&host, "db", PRIMARY, &elected(50));
    // The set is another one by the same name, begun anew.
    fyke_sdk::testing::World::with(|world| {
        world.endpoints.get_mut("db").unwrap().retain(|(address, _)| address != PRIMARY);
    });
    host.advance(Duration::from_secs(2));
    let (client, _) = host.connect();
    host.send(Downstream, client, &find(1), false);
    says(&host, client, SECONDARY, &elected(2));
    served(&host, client, SECONDARY, &find(1), &found(1, 0));
}
