use proptest::prelude::*;

use super::{super::Kind, *};

fn settings(healthy: u32, unhealthy: u32) -> Settings {
    Settings { healthy, unhealthy, ..Settings::new(Kind::Mongo) }
}

fn failed(kind: FailureKind) -> Verdict {
    Verdict::Failed(Failure::of(kind, "words"))
}

fn agent(line: &str) -> Verdict {
    Verdict::Agent(AgentReply::parse(line.as_bytes()).unwrap())
}

fn after(state: &mut State, verdicts: &[Verdict]) -> Vec<(Health, Transition)> {
    verdicts
        .iter()
        .map(|verdict| {
            let transition = state.apply(verdict);
            (state.health(), transition)
        })
        .collect()
}

#[test]
fn a_host_is_pending_until_its_first_check_which_decides_either_way() {
    let mut state = State::new(&settings(2, 3));
    assert_eq!(state.health(), Health::Pending);
    assert_eq!(state.apply(&Verdict::Passed), Transition::Changed);
    assert_eq!(state.health(), Health::Healthy);

    let mut state = State::new(&settings(2, 3));
    assert_eq!(state.apply(&failed(FailureKind::Timeout)), Transition::Changed);
    assert_eq!(state.health(), Health::Unhealthy);
}

#[test]
fn after_a_failed_first_check_it_takes_the_threshold_to_become_healthy() {
    let mut state = State::new(&settings(2, 3));
    let seen = after(&mut state, &[failed(FailureKind::Network), Verdict::Passed, Verdict::Passed, Verdict::Passed]);
    assert_eq!(
        seen,
        [
            (Health::Unhealthy, Transition::Changed),
            (Health::Unhealthy, Transition::ChangePending),
            (Health::Healthy, Transition::Changed),
            (Health::Healthy, Transition::Unchanged),
        ]
    );
}

#[test]
fn failures_of_the_network_need_the_threshold_and_a_pass_in_between_starts_anew() {
    let mut state = State::new(&settings(2, 2));
    let network = failed(FailureKind::Network);
    let seen = after(
        &mut state,
        &[Verdict::Passed, network.clone(), Verdict::Passed, network, failed(FailureKind::Retriable)],
    );
    assert_eq!(
        seen,
        [
            (Health::Healthy, Transition::Changed),
            (Health::Healthy, Transition::ChangePending),
            (Health::Healthy, Transition::Unchanged),
            (Health::Healthy, Transition::ChangePending),
            (Health::Unhealthy, Transition::Changed),
        ]
    );
}

#[test]
fn an_answer_that_is_not_well_fails_at_once() {
    for kind in [FailureKind::Active, FailureKind::Passive] {
        let mut state = State::new(&settings(2, 3));
        state.apply(&Verdict::Passed);
        assert_eq!(state.apply(&failed(kind)), Transition::Changed);
        assert_eq!(state.health(), Health::Unhealthy);
    }
}

#[test]
fn degraded_follows_the_last_passed_check_without_thresholds() {
    let mut state = State::new(&settings(2, 3));
    let seen = after(&mut state, &[Verdict::Degraded, Verdict::Degraded, Verdict::Passed, Verdict::Degraded]);
    assert_eq!(
        seen,
        [
            (Health::Degraded, Transition::Changed),
            (Health::Degraded, Transition::Unchanged),
            (Health::Healthy, Transition::Changed),
            (Health::Degraded, Transition::Changed),
        ]
    );
}

#[test]
fn an_excluded_host_is_one_until_it_is_healthy_again() {
    let mut state = State::new(&settings(2, 3));
    state.apply(&Verdict::Passed);
    let excluding = Failure { exclusion: Exclusion::Exclude, ..Failure::active("words") };
    let seen = state.see(Verdict::Failed(excluding), Duration::from_millis(3));
    assert_eq!((seen.health, seen.exclusion), (Health::Unhealthy, Exclusion::Exclude));
    assert_eq!(state.see(failed(FailureKind::Active), Duration::ZERO).exclusion, Exclusion::Exclude);
    assert_eq!(state.see(Verdict::Passed, Duration::ZERO).exclusion, Exclusion::Exclude);
    assert_eq!(state.see(Verdict::Passed, Duration::ZERO).exclusion, Exclusion::Keep);
}

#[test]
fn an_exclusion_that_came_with_too_few_failures_ends_with_the_next_pass() {
    let mut state = State::new(&settings(2, 3));
    state.apply(&Verdict::Passed);
    let excluding = Failure { exclusion: Exclusion::Exclude, ..Failure::of(FailureKind::Retriable, "words") };
    let seen = state.see(Verdict::Failed(excluding), Duration::ZERO);
    assert_eq!((seen.health, seen.exclusion, seen.transition), {
        (Health::Healthy, Exclusion::Exclude, Transition::ChangePending)
    });
    let seen = state.see(Verdict::Passed, Duration::ZERO);
    assert_eq!((seen.health, seen.exclusion, seen.transition), {
        (Health::Healthy, Exclusion::Keep, Transition::Changed)
    });
}

#[test]
fn an_agents_words_last_until_they_are_taken_back() {
    let mut state = State::new(&settings(5, 5));
    let mut health = |line| {
        state.apply(&agent(line));
        state.health()
    };
    assert_eq!(health("75%"), Health::Healthy);
    assert_eq!(health("drain"), Health::Draining);
    assert_eq!(health("50%"), Health::Draining);
    assert_eq!(health("up"), Health::Draining);
    assert_eq!(health("ready"), Health::Healthy);
    assert_eq!(health("down#full"), Health::Unhealthy);
    assert_eq!(health("100%"), Health::Unhealthy);
    assert_eq!(health("up"), Health::Healthy);
    assert_eq!(health("maint"), Health::Unhealthy);
    assert_eq!(health("up 10%"), Health::Unhealthy);
    assert_eq!(health("ready 0%"), Health::Draining);
    assert_eq!(health("20% maxconn:7"), Health::Healthy);
    let seen = state.see(agent("up"), Duration::ZERO);
    assert_eq!((seen.weight, seen.max_connections, seen.transition), (Some(20), Some(7), Transition::Unchanged));
    assert_eq!(state.apply(&agent("21%")), Transition::Changed);
}

#[test]
fn an_agent_that_cannot_be_asked_fails_by_the_threshold_and_is_believed_at_once_when_it_is_back() {
    let mut state = State::new(&settings(3, 2));
    state.apply(&agent("up"));
    let network = failed(FailureKind::Network);
    let seen = after(&mut state, &[network.clone(), network, agent("up")]);
    assert_eq!(
        seen,
        [
            (Health::Healthy, Transition::ChangePending),
            (Health::Unhealthy, Transition::Changed),
            (Health::Healthy, Transition::Changed),
        ]
    );
}

fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
    let kinds =
        [FailureKind::Active, FailureKind::Retriable, FailureKind::Network, FailureKind::Timeout, FailureKind::Passive];
    let verdict = prop_oneof![
        3 => Just(Verdict::Passed),
        1 => Just(Verdict::Degraded),
        3 => prop::sample::select(kinds.to_vec()).prop_map(failed),
    ];
    prop::collection::vec(verdict, 1..80)
}

/// What the rules make of a whole history, told backwards: the last verdict that decided, if any.
fn model(history: &[Verdict], healthy: usize, unhealthy: usize) -> Health {
    let passes = |verdict: &Verdict| !matches!(verdict, Verdict::Failed(_));
    let at_once = |verdict: &Verdict| match verdict {
        Verdict::Failed(failure) => matches!(failure.kind, FailureKind::Active | FailureKind::Passive),
        _ => false,
    };
    let mut up = passes(&history[0]);
    for end in 1..=history.len() {
        let (history, last) = (&history[..end], &history[end - 1]);
        let row = |pass: bool| history.iter().rev().take_while(|verdict| passes(verdict) == pass).count();
        if up && (at_once(last) || row(false) >= unhealthy) {
            up = false;
        } else if !up && (row(true) >= healthy || end == 1 && passes(last)) {
            up = true;
        }
    }
    let degraded = history.iter().rev().find(|verdict| passes(verdict)) == Some(&Verdict::Degraded);
    match (up, degraded) {
        (true, true) => Health::Degraded,
        (true, false) => Health::Healthy,
        (false, _) => Health::Unhealthy,
    }
}

proptest! {
    #[test]
    fn it_stands_where_the_plain_rules_put_it(
        verdicts in verdicts(),
        healthy in 1..5_usize,
        unhealthy in 1..5_usize,
    ) {
        let mut state =
            State::new(&settings(u32::try_from(healthy).unwrap(), u32::try_from(unhealthy).unwrap()));
        for end in 1..=verdicts.len() {
            let before = state.health();
            let transition = state.apply(&verdicts[end - 1]);
            prop_assert_eq!(state.health(), model(&verdicts[..end], healthy, unhealthy));
            // What changed is told as such, and nothing else is.
            prop_assert_eq!(before != state.health(), transition == Transition::Changed);
        }
    }

    #[test]
    fn enough_passes_bring_any_host_back(verdicts in verdicts(), healthy in 1..5_u32) {
        let mut state = State::new(&settings(healthy, 3));
        for verdict in &verdicts {
            state.apply(verdict);
        }
        for _ in 0..healthy {
            state.apply(&Verdict::Passed);
        }
        prop_assert_eq!(state.health(), Health::Healthy);
    }

    #[test]
    fn no_agent_leaves_a_host_in_a_state_that_ready_and_a_weight_do_not_end(lines: Vec<Vec<u8>>) {
        let mut state = State::new(&settings(2, 3));
        for line in &lines {
            if let Some(reply) = AgentReply::parse(line) {
                state.apply(&Verdict::Agent(reply));
            }
        }
        state.apply(&agent("ready 100%"));
        prop_assert_eq!(state.health(), Health::Healthy);
    }
}
