//! What becomes of a request.

use super::*;

#[test]
fn read_preference_chooses_the_role_for_reads_only() {
    use ReadPreference::{Nearest, Primary, PrimaryPreferred, Secondary, SecondaryPreferred};
    let primary = || Target::Label(Role::Primary);
    let secondary = || Target::Label(Role::Secondary);
    for (read_preference, expected) in [
        (Primary, (primary(), None)),
        (PrimaryPreferred, (primary(), Some(Role::Secondary))),
        (Secondary, (secondary(), None)),
        (SecondaryPreferred, (secondary(), Some(Role::Primary))),
        (Nearest, (Target::Any, None)),
    ] {
        assert_eq!(target(&Command { read_preference, ..find_command() }), expected);
        for name in ["insert", "findAndModify", "drop"] {
            assert_eq!(target(&Command { name, read_preference, ..find_command() }), (primary(), None));
        }
        let merge = Command { name: "aggregate", writes_result: true, read_preference, ..find_command() };
        assert_eq!(target(&merge), (primary(), None));
    }
}

#[test]
fn any_router_will_do() {
    let mut world = World::new();
    world.fleet = Fleet::default();
    world.fleet.observe("m", facts(Role::Mongos));
    let command = Command { name: "insert", ..find_command() };
    let decision = Exchange::new(1).on_request(&request(1, &command), &mut world.environment());
    assert!(matches!(decision, Decision::Lease(Lease { target: Target::Any, .. })));
}

#[test]
fn a_lease_of_the_wrong_role_is_exchanged_once() {
    let mut world = World::new();
    let mut exchange = Exchange::new(1);
    let command = Command { name: "insert", ..find_command() };
    exchange.on_request(&request(1, &command), &mut world.environment());
    let Leased::Again(lease) = exchange.on_leased("s", &mut world.environment()) else { panic!("took a secondary") };
    assert_eq!(lease.target, Target::Label(Role::Primary));
    assert_eq!(exchange.on_leased("s", &mut world.environment()), Leased::Forward);
}

#[test]
fn a_preferred_role_that_is_missing_falls_back_once() {
    let mut world = World::new();
    let mut exchange = Exchange::new(1);
    let command = Command { read_preference: ReadPreference::SecondaryPreferred, ..find_command() };
    exchange.on_request(&request(1, &command), &mut world.environment());
    let failure = exchange.on_lease_failed(LeaseFailure::NoEndpoint, &mut world.environment());
    let Failure::Again(lease) = failure else { panic!("{failure:?}") };
    assert_eq!((&lease.target, lease.or), (&Target::Label(Role::Primary), None));
    let failure = exchange.on_lease_failed(LeaseFailure::NoEndpoint, &mut world.environment());
    let Failure::Answer(message) = failure else { panic!("{failure:?}") };
    assert_eq!(code(&message), Code::HOST_UNREACHABLE.0);
    assert!(exchange.is_idle());
}

#[test]
fn exhaust_and_waiting_cursors_use_the_long_lived_share() {
    let mut world = World::new();
    let mut lease = |request: &Request<'_>| match Exchange::new(1).on_request(request, &mut world.environment()) {
        Decision::Lease(lease) => lease.long_lived,
        other => panic!("{other:?}"),
    };
    let plain = find_command();
    let tailable = Command { long_lived: true, ..find_command() };
    assert!(!lease(&request(1, &plain)));
    assert!(lease(&request(1, &tailable)));
    assert!(lease(&Request { exhaust_allowed: true, ..request(1, &plain) }));
    let mut exchange = awaiting(&mut world, &request(7, &tailable));
    exchange.on_reply(header(7));
    let opened = Reply { cursor: Some(5), namespace: Some("d.c"), ..ok() };
    exchange.on_reply_end(Some(&opened), true, &mut world.environment());
    let more = Command { name: "getMore", cursors: vec![5], ..find_command() };
    let decision = exchange.on_request(&request(8, &more), &mut world.environment());
    let Decision::Lease(lease) = decision else { panic!("{decision:?}") };
    assert_eq!((lease.target, lease.long_lived), (Target::Server("p".into()), true));
}

#[test]
fn what_is_about_the_connection_is_answered_here() {
    let mut world = World::new();
    let mut exchange = Exchange::new(1);
    for name in ["hello", "isMaster", "ismaster", "saslStart", "getLastError", "getnonce", "logout", "authenticate"] {
        assert!(Exchange::wants_document(name), "{name}");
        let command = Command { name, ..Command::default() };
        let decision = exchange.on_request(&request(1, &command), &mut world.environment());
        assert!(matches!(decision, Decision::Answer(_)), "{name}");
    }
    for name in ["ping", "find", "endSessions", "killSessions", "connectionStatus", "buildInfo"] {
        assert!(!Exchange::wants_document(name), "{name}");
    }
}

#[test]
fn op_query_is_for_hello_only() {
    let mut world = World::new();
    let mut hello = Document::new();
    hello.int32("ismaster", 1).bool("helloOk", true);
    let hello = hello.finish();
    let command = Command { name: "ismaster", ..Command::default() };
    let legacy = Request { form: Form::QueryCommand, document: &hello, ..request(3, &command) };
    let decision = Exchange::new(9).on_request(&legacy, &mut world.environment());
    let Decision::Answer(message) = decision else { panic!("{decision:?}") };
    assert_eq!(message[12..16], 1_i32.to_le_bytes());
    assert_eq!(find(&message[36..], "connectionId"), Some(Value::Integer(9)));
    let find_c = find_command();
    for form in [Form::QueryCommand, Form::QueryFind] {
        let legacy = Request { form, ..request(3, &find_c) };
        let decision = Exchange::new(9).on_request(&legacy, &mut world.environment());
        let Decision::Answer(message) = decision else { panic!("{decision:?}") };
        assert_eq!(find(&message[36..], "code"), Some(Value::Integer(352)));
    }
}

#[test]
fn nothing_is_served_before_a_login_that_is_required() {
    let mut world = World::new();
    world.settings.auth = ClientAuth::Scram;
    let command = find_command();
    let decision = Exchange::new(1).on_request(&request(1, &command), &mut world.environment());
    let Decision::Answer(message) = decision else { panic!("{decision:?}") };
    assert_eq!(code(&message), Code::UNAUTHORIZED.0);
}
