//! What becomes of replies, and of failures.

use super::*;

#[test]
fn a_reply_to_another_request_is_not_delivered() {
    let mut world = World::new();
    let command = find_command();
    let mut exchange = awaiting(&mut world, &request(7, &command));
    assert_eq!(exchange.on_reply(header(8)), Upstream::Close);
    let failure = exchange.on_broken(Breakage::Violation, &mut world.environment());
    let Failure::Answer(message) = failure else { panic!("{failure:?}") };
    assert_eq!(message[8..12], 7_i32.to_le_bytes());
    assert!(exchange.is_idle());
    // A reply although nothing was asked.
    assert_eq!(exchange.on_reply(header(7)), Upstream::Close);
}

#[test]
fn more_replies_than_the_client_allows_are_a_violation() {
    let mut world = World::new();
    let command = find_command();
    let mut exchange = awaiting(&mut world, &request(7, &command));
    assert_eq!(exchange.on_reply(ReplyHeader { more_to_come: true, ..header(7) }), Upstream::Close);
}

#[test]
fn connections_go_back_only_when_clean() {
    let mut world = World::new();
    let command = find_command();
    let mut end = |reply: Option<&Reply<'_>>, clean| {
        let mut exchange = awaiting(&mut world, &request(7, &command));
        assert_eq!(exchange.on_reply(header(7)), Upstream::Hold);
        let end = exchange.on_reply_end(reply, clean, &mut world.environment());
        assert!(exchange.is_idle());
        (end.upstream, end.observed)
    };
    assert_eq!(end(Some(&ok()), true), (Upstream::Release, None));
    assert_eq!(end(Some(&ok()), false), (Upstream::Close, None));
    assert_eq!(end(None, true), (Upstream::Close, None));
    let error = |code| Reply { code: Some(code), ..Reply::default() };
    assert_eq!(end(Some(&error(10107)), true), (Upstream::Release, Some(Observed::NotPrimary)));
    assert_eq!(end(Some(&error(91)), true), (Upstream::Close, Some(Observed::ShuttingDown)));
    assert_eq!(end(Some(&error(11000)), true), (Upstream::Release, None));
    let concern = Reply { write_concern_code: Some(11602), ..ok() };
    assert_eq!(end(Some(&concern), true), (Upstream::Release, Some(Observed::Neither)));
}

#[test]
fn part_of_a_reply_cannot_be_taken_back() {
    let mut world = World::new();
    let command = find_command();
    let mut exchange = awaiting(&mut world, &request(7, &command));
    exchange.on_reply(header(7));
    assert_eq!(exchange.on_broken(Breakage::Closed, &mut world.environment()), Failure::CloseClient);
}

#[test]
fn exhaust_replies_chain_and_hold_the_connection() {
    let mut world = World::new();
    let command = find_command();
    let mut exchange = awaiting(&mut world, &Request { exhaust_allowed: true, ..request(7, &command) });
    let more = |request_id, response_to| ReplyHeader { request_id, response_to, more_to_come: true };
    for (id, to) in [(20, 7), (21, 20), (22, 21)] {
        assert_eq!(exchange.on_reply(more(id, to)), Upstream::Hold);
        let end = exchange.on_reply_end(Some(&ok()), false, &mut world.environment());
        assert_eq!(end.upstream, Upstream::Hold);
        assert_eq!(exchange.on_request(&request(8, &command), &mut world.environment()), Decision::Wait);
    }
    assert_eq!(exchange.on_reply(header(21)), Upstream::Close);
    let mut exchange = awaiting(&mut world, &Request { exhaust_allowed: true, ..request(7, &command) });
    exchange.on_reply(more(20, 7));
    exchange.on_reply_end(Some(&ok()), true, &mut world.environment());
    assert_eq!(exchange.on_reply(header(20)), Upstream::Hold);
    let end = exchange.on_reply_end(Some(&ok()), true, &mut world.environment());
    assert_eq!(end.upstream, Upstream::Release);
}

#[test]
fn an_unacknowledged_write_ends_when_it_is_written() {
    let mut world = World::new();
    let command = Command { name: "insert", ..find_command() };
    let write = Request { more_to_come: true, ..request(7, &command) };
    let mut exchange = Exchange::new(1);
    exchange.on_request(&write, &mut world.environment());
    exchange.on_leased("p", &mut world.environment());
    assert_eq!(exchange.on_sent(), Upstream::Release);
    exchange.on_request(&write, &mut world.environment());
    let failure = exchange.on_lease_failed(LeaseFailure::QueueFull, &mut world.environment());
    assert_eq!(failure, Failure::Discard);
    let hello = Command { name: "hello", ..Command::default() };
    let write = Request { more_to_come: true, ..request(7, &hello) };
    assert_eq!(exchange.on_request(&write, &mut world.environment()), Decision::Discard(None));
}

#[test]
fn a_client_that_leaves_closes_what_it_was_using() {
    let mut world = World::new();
    let command = find_command();
    let mut exchange = Exchange::new(1);
    assert_eq!(exchange.on_client_gone(), Upstream::Hold);
    exchange.on_request(&request(1, &command), &mut world.environment());
    assert_eq!(exchange.on_client_gone(), Upstream::Release);
    assert_eq!(exchange.on_leased("p", &mut world.environment()), Leased::Unwanted);
    assert_eq!(awaiting(&mut world, &request(1, &command)).on_client_gone(), Upstream::Close);
}

/// An exchange whose transaction has begun at the primary, and the command that commits it.
fn in_transaction(world: &mut World) -> (Exchange, Command<'static>) {
    let in_transaction =
        Command { session: Some(&[1; 16]), txn_number: Some(3), in_transaction: true, ..find_command() };
    let start = Command { starts_transaction: true, ..in_transaction.clone() };
    let mut exchange = awaiting(world, &request(1, &start));
    exchange.on_reply(header(1));
    exchange.on_reply_end(Some(&ok()), true, &mut world.environment());
    (exchange, Command { name: "commitTransaction", ..in_transaction })
}

#[test]
fn a_commit_outlives_its_server() {
    let mut world = World::new();
    let (mut exchange, commit) = in_transaction(&mut world);
    let decision = exchange.on_request(&request(2, &commit), &mut world.environment());
    assert!(matches!(decision, Decision::Lease(Lease { pinned: Some(PinReason::Transaction), .. })));
    let failure = exchange.on_lease_failed(LeaseFailure::NoEndpoint, &mut world.environment());
    let Failure::Answer(message) = failure else { panic!("{failure:?}") };
    assert_eq!(Reply::read(&message[21..]).unwrap().labels, Labels::RETRYABLE_WRITE);
    let decision = exchange.on_request(&request(3, &commit), &mut world.environment());
    assert!(matches!(decision, Decision::Lease(Lease { target: Target::Label(Role::Primary), .. })));
}

#[test]
fn a_commit_whose_outcome_is_unknown_may_go_elsewhere() {
    let mut world = World::new();
    let (_, commit) = in_transaction(&mut world);
    let mut exchange = awaiting(&mut world, &request(2, &commit));
    let failure = exchange.on_broken(Breakage::Closed, &mut world.environment());
    let Failure::Answer(message) = failure else { panic!("{failure:?}") };
    let labels = Reply::read(&message[21..]).unwrap().labels;
    assert_eq!(labels, Labels::RETRYABLE_WRITE.and(Labels::UNKNOWN_COMMIT));
    let decision = exchange.on_request(&request(3, &commit), &mut world.environment());
    assert!(matches!(decision, Decision::Lease(Lease { pinned: None, .. })), "{decision:?}");
}
