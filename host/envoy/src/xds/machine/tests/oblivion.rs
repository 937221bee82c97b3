//! What the application is told so that it can tell a control plane without memory from one that means it.

use std::time::Duration;

use super::{
    protocol::{START, accept, delivered, delta, deltas, requests, state},
    *,
};
use ResourceType::Cluster;

fn stays() -> Verdict {
    Verdict { stays: vec!["a".to_owned()], ..Verdict::default() }
}

/// Whether the next response takes everything away, with `now` for both.
fn is_first(machine: &mut Machine, response: Response, now: Duration) -> bool {
    machine.received(0, response, now);
    let (id, update) = delivered(&outputs(machine));
    assert_eq!((update.added.len(), update.removed.len()), (0, 1));
    machine.judged(id, stays(), now);
    outputs(machine);
    update.first
}

fn reconnected(mode: Mode, now: Duration) -> Machine {
    let mut machine = machine(mode, Streams::Aggregated);
    machine.connected(0, START);
    accept(
        &mut machine,
        match mode {
            Mode::StateOfTheWorld => state(Cluster, "1", "n1", &["a|1"]),
            Mode::Delta => delta(Cluster, "n1", &[("a|1", "v1")], &[]),
        },
    );
    machine.disconnected(0);
    machine.connected(0, now);
    outputs(&mut machine);
    machine
}

#[test]
fn the_first_on_a_stream_is_said_to_be_it() {
    let at = Duration::from_secs(100);
    let mut forgets = reconnected(Mode::StateOfTheWorld, at);
    assert!(is_first(&mut forgets, state(Cluster, "2", "n2", &[]), at));
    assert!(!is_first(&mut forgets, state(Cluster, "3", "n3", &[]), at), "it says it again");
    // One that says first that all is as it was.
    let mut means_it = reconnected(Mode::StateOfTheWorld, at);
    means_it.received(0, state(Cluster, "1", "n2", &["a|1"]), at);
    assert_eq!(requests(&outputs(&mut means_it), Cluster).len(), 1, "nobody is asked");
    assert!(!is_first(&mut means_it, state(Cluster, "2", "n3", &[]), at));
    // One that has nothing to say for a while.
    let mut silent = reconnected(Mode::Delta, at);
    assert!(!is_first(&mut silent, delta(Cluster, "n2", &[], &["a"]), at + FETCH));
    let mut forgets = reconnected(Mode::Delta, at);
    assert!(is_first(&mut forgets, delta(Cluster, "n2", &[], &["a"]), at + FETCH / 2));
}

#[test]
fn what_was_taken_away_and_stays_is_news_when_it_is_named_again() {
    let mut machine = reconnected(Mode::StateOfTheWorld, START);
    is_first(&mut machine, state(Cluster, "2", "n2", &[]), START);
    machine.received(0, state(Cluster, "3", "n3", &["a|1"]), START);
    let (_, update) = delivered(&outputs(&mut machine));
    assert_eq!((update.added.len(), update.removed.len(), update.complete), (1, 0, true));
}

#[test]
fn what_was_taken_away_is_asked_for_like_what_was_never_there() {
    let mut machine = reconnected(Mode::Delta, START);
    is_first(&mut machine, delta(Cluster, "n2", &[], &["a"]), START);
    machine.disconnected(0);
    machine.connected(0, START);
    let [asked] = deltas(&outputs(&mut machine), Cluster).try_into().unwrap();
    assert!(asked.initial_resource_versions.is_empty());
}

#[test]
fn what_is_named_again_and_cannot_be_read_is_named_all_the_same() {
    let mut machine = reconnected(Mode::StateOfTheWorld, START);
    is_first(&mut machine, state(Cluster, "2", "n2", &[]), START);
    // Twice, so that nobody knows which is meant.
    machine.received(0, state(Cluster, "3", "n3", &["a|2", "a|3", "b|1"]), START);
    let (_, update) = delivered(&outputs(&mut machine));
    assert_eq!((update.added.len(), update.named), (1, vec!["a".to_owned()]));
}
