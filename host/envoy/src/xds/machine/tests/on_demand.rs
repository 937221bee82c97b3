//! Clusters that are asked for by name alone.

use super::{
    protocol::{START, accept, delivered, delta, deltas, names, requests, state},
    *,
};
use ResourceType::{Cluster, Listener};

fn by_name(mode: Mode) -> Machine {
    let mut machine = machine_of(mode, Streams::Aggregated, &[Listener]);
    machine.connected(0, START);
    machine
}

fn missing(outputs: &[Output]) -> Vec<String> {
    let missing = outputs.iter().filter_map(|output| match output {
        Output::Missing(Cluster, names) => Some(names.clone()),
        _ => None,
    });
    missing.flatten().collect()
}

#[test]
fn no_cluster_is_asked_for_before_somebody_needs_one() {
    for mode in [Mode::StateOfTheWorld, Mode::Delta] {
        let mut machine = by_name(mode);
        let told = outputs(&mut machine);
        assert!(requests(&told, Cluster).is_empty() && deltas(&told, Cluster).is_empty(), "{mode:?}");
        machine.subscribe(Cluster, ["a".to_owned()], START);
        let told = outputs(&mut machine);
        let named = match mode {
            Mode::StateOfTheWorld => requests(&told, Cluster).remove(0).resource_names,
            Mode::Delta => deltas(&told, Cluster).remove(0).resource_names_subscribe,
        };
        assert_eq!(named, ["a"], "{mode:?}");
    }
}

#[test]
fn one_that_is_not_there_is_said_at_once_and_one_that_comes_is_delivered() {
    let mut machine = by_name(Mode::Delta);
    machine.subscribe(Cluster, ["a".to_owned(), "b".to_owned()], START);
    outputs(&mut machine);
    machine.received(0, delta(Cluster, "n1", &[("b|x", "1"), ("unasked|x", "1")], &["a"]), START);
    let told = outputs(&mut machine);
    let (id, update) = delivered(&told);
    assert_eq!((missing(&told), names(&update)), (vec!["a".to_owned()], vec!["b"]));
    machine.judged(id, Verdict::default(), START);
    outputs(&mut machine);
    // Nobody waits for it any more, and nobody hears of it twice.
    machine.unsubscribe(Cluster, &["a".to_owned()], START);
    assert_eq!(deltas(&outputs(&mut machine), Cluster).remove(0).resource_names_unsubscribe, ["a"]);
    machine.tick(FETCH * 2);
    assert!(missing(&outputs(&mut machine)).is_empty());
}

#[test]
fn what_nobody_wants_any_more_goes() {
    let mut machine = by_name(Mode::Delta);
    machine.subscribe(Cluster, ["a".to_owned()], START);
    outputs(&mut machine);
    accept(&mut machine, delta(Cluster, "n1", &[("a|x", "1")], &[]));
    machine.unsubscribe(Cluster, &["a".to_owned()], START);
    let told = outputs(&mut machine);
    assert!(told.iter().any(|output| matches!(output, Output::Tell(update) if update.removed == ["a"])), "{told:?}");
}

#[test]
fn a_state_of_the_world_without_one_that_was_there_takes_it_away() {
    let mut machine = by_name(Mode::StateOfTheWorld);
    machine.subscribe(Cluster, ["a".to_owned(), "b".to_owned()], START);
    outputs(&mut machine);
    accept(&mut machine, state(Cluster, "1", "n1", &["a|x", "b|x"]));
    machine.received(0, state(Cluster, "2", "n2", &["b|x"]), START);
    assert_eq!(delivered(&outputs(&mut machine)).1.removed, ["a"]);
}

#[test]
fn those_that_were_kept_are_followed_when_nobody_has_asked_for_them_yet() {
    let mut first = by_name(Mode::Delta);
    first.subscribe(Cluster, ["a".to_owned()], START);
    outputs(&mut first);
    accept(&mut first, delta(Cluster, "n1", &[("a|x", "1")], &[]));
    let (kept, versions) = first.kept();
    let mut second = machine_of(Mode::Delta, Streams::Aggregated, &[Listener]);
    second.restore(kept, &versions, START);
    let (id, update) = delivered(&outputs(&mut second));
    assert_eq!((names(&update), update.restored), (vec!["a"], true));
    second.judged(id, Verdict::default(), START);
    outputs(&mut second);
    second.connected(0, START);
    let asked = deltas(&outputs(&mut second), Cluster).remove(0);
    assert_eq!(asked.resource_names_subscribe, ["a"]);
    assert_eq!(asked.initial_resource_versions.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "1".to_owned())]);
}
