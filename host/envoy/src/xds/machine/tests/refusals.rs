//! What a refusal is told, and when.

use std::time::Duration;

use super::{
    protocol::{START, accept, delivered, delta, deltas, refuse, requests, state},
    *,
};
use ResourceType::{Cluster, Endpoints, Listener};

/// One that answers a refusal at once with the same, as many do.
#[test]
fn what_is_refused_again_is_told_once_and_answered_later_each_time() {
    let at = Duration::from_millis;
    for mode in [Mode::StateOfTheWorld, Mode::Delta] {
        let mut machine = machine(mode, Streams::Aggregated);
        machine.connected(0, START);
        outputs(&mut machine);
        let bad = |nonce: &str| match mode {
            Mode::StateOfTheWorld => state(Cluster, "1", nonce, &["a|1", "b|1"]),
            Mode::Delta => delta(Cluster, nonce, &[("b|1", "1")], &[]),
        };
        let good = |nonce: &str| match mode {
            Mode::StateOfTheWorld => state(Cluster, "2", nonce, &["c|2"]),
            Mode::Delta => delta(Cluster, nonce, &[("c|2", "2")], &[]),
        };
        let hear = |machine: &mut Machine, nonce: &str, now: Duration| {
            machine.received(0, bad(nonce), now);
            let mut told = outputs(machine);
            let (id, _) = delivered(&told);
            machine.judged(id, refuse("b", "does not fit"), now);
            told.retain(|output| !matches!(output, Output::Deliver(..)));
            told.extend(outputs(machine));
            told
        };
        let nonces = |told: &[Output]| -> Vec<String> {
            let state = requests(told, Cluster).into_iter().map(|nack| (nack.response_nonce, nack.error_detail));
            let delta = deltas(told, Cluster).into_iter().map(|nack| (nack.response_nonce, nack.error_detail));
            let all = state.chain(delta).inspect(|(_, error)| assert!(error.is_some())).map(|(nonce, _)| nonce);
            all.collect()
        };
        let told = hear(&mut machine, "n1", START);
        assert_eq!(nonces(&told), ["n1"]);
        assert!(told.iter().any(|output| matches!(output, Output::Refused(..))));
        assert!(hear(&mut machine, "n2", START).is_empty());
        assert_eq!(machine.deadline().filter(|at| *at < FETCH), Some(at(500)));
        machine.tick(at(499));
        assert!(outputs(&mut machine).is_empty());
        machine.tick(at(500));
        assert_eq!(nonces(&outputs(&mut machine)), ["n2"]);
        assert!(hear(&mut machine, "n3", at(500)).is_empty());
        assert_eq!(machine.deadline().filter(|at| *at < FETCH), Some(at(1500)));
        // One that comes before its answer.
        let told = hear(&mut machine, "n4", at(600));
        let passed_over: &[&str] = if mode == Mode::Delta { &["n3"] } else { &[] };
        assert_eq!(nonces(&told), passed_over);
        machine.tick(at(2600));
        assert_eq!(nonces(&outputs(&mut machine)), ["n4"]);
        // Over a new stream the control plane hears it at once. What it does not have any more it would not say there of delta: so that is told anew.
        machine.disconnected(0);
        machine.connected(0, at(2600));
        outputs(&mut machine);
        let told = hear(&mut machine, "m1", at(2600));
        assert_eq!(nonces(&told), ["m1"]);
        let again = told.iter().any(|output| matches!(output, Output::Refused(..)));
        assert_eq!(again, mode == Mode::Delta);
        // Something good is answered at once, and with it all begins anew.
        machine.received(0, good("m2"), at(2600));
        let (id, _) = delivered(&outputs(&mut machine));
        machine.judged(id, Verdict::default(), at(2600));
        let told = outputs(&mut machine);
        assert!(told.iter().any(|output| matches!(output, Output::Send(..))), "{told:?}");
        let told = hear(&mut machine, "m3", at(2600));
        assert_eq!(nonces(&told), ["m3"]);
        assert!(told.iter().any(|output| matches!(output, Output::Refused(..))));
    }
}

fn mended(outputs: &[Output]) -> Vec<(ResourceType, String)> {
    let names = outputs.iter().filter_map(|output| match output {
        Output::Mended(kind, names) => Some(names.iter().map(|name| (*kind, name.clone()))),
        _ => None,
    });
    names.flatten().collect()
}

/// A refused one was never there, so that it is gone is no change; it is news all the same.
#[test]
fn what_was_refused_and_is_gone_is_said_to_be_mended() {
    let refused = |machine: &mut Machine, kind: ResourceType, response: Response, name: &str| {
        machine.received(0, response, START);
        let (id, _) = delivered(&outputs(machine));
        machine.judged(id, refuse(name, "no"), START);
        assert!(mended(&outputs(machine)).is_empty());
        vec![(kind, name.to_owned())]
    };
    // One that is absent from the next state of the world.
    let mut state_of = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    state_of.connected(0, START);
    accept(&mut state_of, state(Cluster, "1", "n1", &["a|1|1:a"]));
    let bad = refused(&mut state_of, Cluster, state(Cluster, "2", "n2", &["a|1|1:a", "b|1"]), "b");
    state_of.received(0, state(Cluster, "3", "n3", &["a|1|1:a"]), START);
    assert_eq!(mended(&outputs(&mut state_of)), bad);
    // Endpoints of a cluster that is gone.
    let bad = refused(&mut state_of, Endpoints, state(Endpoints, "1", "e1", &["a|1"]), "a");
    let told = accept(&mut state_of, state(Cluster, "4", "n4", &[]));
    assert_eq!(mended(&told), bad);
    // One that is named as removed, and one over a new stream.
    let mut changes = machine(Mode::Delta, Streams::Aggregated);
    changes.connected(0, START);
    let bad = refused(&mut changes, Cluster, delta(Cluster, "n1", &[("a|1", "1")], &[]), "a");
    changes.received(0, delta(Cluster, "n2", &[], &["a"]), START);
    assert_eq!(mended(&outputs(&mut changes)), bad);
    let bad = refused(&mut changes, Cluster, delta(Cluster, "n3", &[("a|1", "1")], &[]), "a");
    changes.disconnected(0);
    changes.connected(0, START);
    assert_eq!(mended(&outputs(&mut changes)), bad);
}

#[test]
fn what_the_application_cannot_do_without_keeps_its_endpoints() {
    let without = |machine: &mut Machine, nonce: &str, verdict: Verdict| {
        machine.received(0, state(Cluster, nonce, nonce, &["b|1"]), START);
        let (id, update) = delivered(&outputs(machine));
        assert_eq!(update.removed, ["a"]);
        machine.judged(id, verdict, START);
        outputs(machine)
    };
    let stays = || Verdict { stays: vec!["a".to_owned()], ..Verdict::default() };
    let gone = || Verdict { gone: vec![(Cluster, "a".to_owned())], ..Verdict::default() };
    for later in [false, true] {
        let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
        machine.connected(0, START);
        accept(&mut machine, state(Cluster, "1", "n1", &["a|1|1:a", "b|1"]));
        accept(&mut machine, state(Endpoints, "1", "e1", &["a|1"]));
        let told = without(&mut machine, "n2", stays());
        assert!(requests(&told, Endpoints).is_empty() && told.len() == 1, "{told:?}");
        // It is asked about again, until it can go; or the application lets go of it when it looks at something else.
        let told = if later {
            machine.received(0, state(Listener, "1", "l1", &["l|1"]), START);
            let (id, _) = delivered(&outputs(&mut machine));
            machine.judged(id, gone(), START);
            outputs(&mut machine)
        } else {
            without(&mut machine, "n3", Verdict::default())
        };
        let [unsubscribed] = requests(&told, Endpoints).try_into().unwrap();
        assert!(unsubscribed.resource_names.is_empty());
    }
}

#[test]
fn a_subscription_does_not_wait_for_an_answer_that_is_held_back() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    machine.subscribe(Endpoints, ["a".to_owned()], START);
    outputs(&mut machine);
    for nonce in ["e1", "e2"] {
        machine.received(0, state(Endpoints, "1", nonce, &["a|1"]), START);
        let (id, _) = delivered(&outputs(&mut machine));
        machine.judged(id, refuse("a", "no"), START);
    }
    outputs(&mut machine);
    machine.subscribe(Endpoints, ["b".to_owned()], START);
    let told = outputs(&mut machine);
    let [nack] = requests(&told, Endpoints).try_into().unwrap();
    assert_eq!((nack.response_nonce.as_str(), nack.resource_names.len()), ("e2", 2));
    assert!(nack.error_detail.is_some());
    machine.tick(Duration::from_secs(1));
    assert!(outputs(&mut machine).is_empty());
}
