//! What the protocol wants, case by case.

use std::time::Duration;

use super::*;
use crate::xds::messages::{DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as Wrapped};
use prost::Message;

pub(super) const START: Duration = Duration::ZERO;

pub(super) fn state(kind: ResourceType, version: &str, nonce: &str, resources: &[&str]) -> Response {
    Response::State(DiscoveryResponse {
        version_info: version.to_owned(),
        resources: resources.iter().map(|text| any(kind, text)).collect(),
        type_url: kind.type_url(),
        nonce: nonce.to_owned(),
    })
}

pub(super) fn delta(kind: ResourceType, nonce: &str, resources: &[(&str, &str)], removed: &[&str]) -> Response {
    Response::Delta(DeltaDiscoveryResponse {
        system_version_info: "s".to_owned(),
        resources: resources
            .iter()
            .map(|(text, version)| Wrapped {
                version: (*version).to_owned(),
                resource: Some(any(kind, text)),
                name: text.split('|').next().unwrap_or_default().to_owned(),
                aliases: Vec::new(),
                ttl: None,
            })
            .collect(),
        type_url: kind.type_url(),
        nonce: nonce.to_owned(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
    })
}

/// Requests of state of the world among outputs, of one type.
pub(super) fn requests(outputs: &[Output], kind: ResourceType) -> Vec<DiscoveryRequest> {
    let requests = outputs.iter().filter_map(|output| match output {
        Output::Send(_, Request::State(request)) if request.type_url == kind.type_url() => Some((**request).clone()),
        _ => None,
    });
    requests.collect()
}

pub(super) fn deltas(outputs: &[Output], kind: ResourceType) -> Vec<messages::DeltaDiscoveryRequest> {
    let requests = outputs.iter().filter_map(|output| match output {
        Output::Send(_, Request::Delta(request)) if request.type_url == kind.type_url() => Some((**request).clone()),
        _ => None,
    });
    requests.collect()
}

pub(super) fn delivered(outputs: &[Output]) -> (u64, Update) {
    let updates: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Deliver(id, update) => Some((*id, update.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(updates.len(), 1, "{outputs:?}");
    updates.into_iter().next().unwrap()
}

pub(super) fn names(update: &Update) -> Vec<&str> {
    update.added.iter().map(|resource| resource.name.as_str()).collect()
}

/// Takes everything of the next update.
pub(super) fn accept(machine: &mut Machine, response: Response) -> Vec<Output> {
    machine.received(0, response, START);
    let (id, _) = delivered(&outputs(machine));
    machine.judged(id, Verdict::default(), START);
    outputs(machine)
}

pub(super) fn refuse(name: &str, reason: &str) -> Verdict {
    Verdict { refused: vec![(name.to_owned(), reason.to_owned())], ..Verdict::default() }
}

use ResourceType::{Cluster, Endpoints, Listener, RouteConfiguration};

#[test]
fn a_stream_begins_with_clusters_and_listeners_and_says_who_we_are_once() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    let said: Vec<_> = outputs(&mut machine)
        .into_iter()
        .map(|output| match output {
            Output::Send(0, Request::State(request)) => {
                (request.type_url, request.node.map(|node| node.id), request.resource_names)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected =
        [(Cluster.type_url(), Some("me".to_owned()), Vec::<String>::new()), (Listener.type_url(), None, Vec::new())];
    assert_eq!(said, expected);
}

#[test]
fn what_is_accepted_is_acknowledged_and_what_it_refers_to_is_asked_for() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    outputs(&mut machine);
    machine.received(0, state(Cluster, "1", "n1", &["a|x|1:a", "b|x|1:shared"]), START);
    let told = outputs(&mut machine);
    let (id, update) = delivered(&told);
    assert_eq!((names(&update), update.removed.len()), (vec!["a", "b"], 0));
    assert!(requests(&told, Cluster).is_empty(), "nothing is acknowledged before the application has spoken");
    machine.judged(id, Verdict::default(), START);
    let told = outputs(&mut machine);
    let [ack] = requests(&told, Cluster).try_into().unwrap();
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str(), ack.error_detail), ("1", "n1", None));
    let [endpoints] = requests(&told, Endpoints).try_into().unwrap();
    assert_eq!(
        (endpoints.resource_names, endpoints.response_nonce),
        (vec!["a".to_owned(), "shared".to_owned()], String::new())
    );
}

#[test]
fn the_good_are_applied_and_the_bad_are_named() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    accept(&mut machine, state(Cluster, "1", "n1", &["a|1", "b|1", "c|1", "d|1"]));
    machine.received(0, state(Cluster, "2", "n2", &["a|2", "b|2", "c|broken", "e|2"]), START);
    let (id, update) = delivered(&outputs(&mut machine));
    // What cannot be read is not known to be `c`; so what is absent is not known to be gone.
    assert_eq!((names(&update), update.removed.as_slice()), (vec!["a", "b", "e"], [].as_slice()));
    machine.judged(id, refuse("b", "does not fit"), START);
    let told = outputs(&mut machine);
    let [nack] = requests(&told, Cluster).try_into().unwrap();
    assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("1", "n2"));
    let status = nack.error_detail.unwrap();
    assert_eq!(status.code, 3);
    assert_eq!(status.message, "cluster \"resources[2]\": cannot be read; cluster \"b\": does not fit");
    let (kept, _) = machine.kept();
    let kept: Vec<_> = kept.iter().map(|kept| String::from_utf8_lossy(&kept.bytes).into_owned()).collect();
    assert_eq!(kept, ["a|2", "b|1", "c|1", "d|1", "e|2"]);
}

#[test]
fn what_is_absent_from_a_state_of_the_world_is_gone_for_clusters_and_not_for_endpoints() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    accept(&mut machine, state(Cluster, "1", "n1", &["a|1|1:a", "b|1|1:b"]));
    accept(&mut machine, state(Endpoints, "1", "e1", &["a|1", "b|1"]));
    machine.received(0, state(Endpoints, "2", "e2", &["b|2"]), START);
    let (id, update) = delivered(&outputs(&mut machine));
    assert_eq!((names(&update), update.removed.len()), (vec!["b"], 0));
    machine.judged(id, Verdict::default(), START);
    outputs(&mut machine);
    machine.received(0, state(Cluster, "2", "n2", &["b|1|1:b"]), START);
    let (id, update) = delivered(&outputs(&mut machine));
    assert_eq!((names(&update), update.removed.as_slice()), (vec![], ["a".to_owned()].as_slice()));
    machine.judged(id, Verdict::default(), START);
    let told = outputs(&mut machine);
    // Nobody refers to the endpoints of `a` any more.
    let told_removed = told
        .iter()
        .any(|output| matches!(output, Output::Tell(update) if update.kind == Endpoints && update.removed == ["a"]));
    assert!(told_removed, "{told:?}");
    let [request] = requests(&told, Endpoints).try_into().unwrap();
    assert_eq!(
        (request.resource_names, request.version_info.as_str(), request.response_nonce.as_str()),
        (vec!["b".to_owned()], "2", "e2")
    );
}

#[test]
fn what_has_not_changed_is_acknowledged_without_asking() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    accept(&mut machine, state(Cluster, "1", "n1", &["a|1"]));
    machine.received(0, state(Cluster, "2", "n2", &["a|1"]), START);
    let told = outputs(&mut machine);
    let [ack] = requests(&told, Cluster).try_into().unwrap();
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str()), ("2", "n2"));
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_name_that_is_there_twice_is_nobodys() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    outputs(&mut machine);
    machine.received(0, state(Cluster, "1", "n1", &["a|1", "b|1", "a|2"]), START);
    let (id, update) = delivered(&outputs(&mut machine));
    assert_eq!(names(&update), ["b"]);
    machine.judged(id, Verdict::default(), START);
    let told = outputs(&mut machine);
    let [nack] = requests(&told, Cluster).try_into().unwrap();
    assert_eq!(nack.error_detail.unwrap().message, "cluster \"a\": is there twice");
}

#[test]
fn a_new_stream_says_the_version_and_no_nonce() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    accept(&mut machine, state(Cluster, "7", "n1", &["a|1|1:a"]));
    machine.disconnected(0);
    machine.connected(0, START);
    let told = outputs(&mut machine);
    let [clusters] = requests(&told, Cluster).try_into().unwrap();
    assert_eq!((clusters.version_info.as_str(), clusters.response_nonce.as_str()), ("7", ""));
    assert_eq!(clusters.node.unwrap().id, "me");
    let [endpoints] = requests(&told, Endpoints).try_into().unwrap();
    assert_eq!(endpoints.resource_names, ["a"]);
}

#[test]
fn a_verdict_on_what_came_before_the_stream_was_lost_counts_and_is_not_sent() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    outputs(&mut machine);
    machine.received(0, state(Cluster, "1", "n1", &["a|1"]), START);
    let (id, _) = delivered(&outputs(&mut machine));
    machine.disconnected(0);
    machine.connected(0, START);
    outputs(&mut machine);
    machine.judged(id, Verdict::default(), START);
    let told = outputs(&mut machine);
    assert!(requests(&told, Cluster).is_empty(), "{told:?}");
    assert_eq!(machine.kept().0.len(), 1);
}

#[test]
fn a_stream_of_delta_begins_when_the_application_has_spoken() {
    let mut machine = machine(Mode::Delta, Streams::Aggregated);
    machine.connected(0, START);
    outputs(&mut machine);
    machine.received(0, delta(Cluster, "n1", &[("a|1", "v1")], &[]), START);
    let (id, _) = delivered(&outputs(&mut machine));
    machine.disconnected(0);
    machine.connected(0, START);
    assert!(deltas(&outputs(&mut machine), Cluster).is_empty(), "whether `a` is there is not known yet");
    machine.judged(id, Verdict::default(), START);
    let told = outputs(&mut machine);
    let [clusters] = deltas(&told, Cluster).try_into().unwrap();
    assert_eq!(clusters.initial_resource_versions.get("a").map(String::as_str), Some("v1"));
}

#[test]
fn a_subscription_waits_for_the_answer_to_the_last_response() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    machine.subscribe(Endpoints, ["a".to_owned()], START);
    outputs(&mut machine);
    machine.received(0, state(Endpoints, "1", "e1", &["a|1"]), START);
    let (id, _) = delivered(&outputs(&mut machine));
    machine.subscribe(Endpoints, ["b".to_owned()], START);
    assert!(requests(&outputs(&mut machine), Endpoints).is_empty(), "an old nonce would be passed over");
    machine.judged(id, Verdict::default(), START);
    let told = outputs(&mut machine);
    let [ack] = requests(&told, Endpoints).try_into().unwrap();
    assert_eq!((ack.resource_names, ack.response_nonce.as_str()), (vec!["a".to_owned(), "b".to_owned()], "e1"));
}

#[test]
fn delta_says_what_it_has_and_what_has_changed() {
    let mut machine = machine(Mode::Delta, Streams::Aggregated);
    machine.connected(0, START);
    let first = outputs(&mut machine);
    let [clusters] = deltas(&first, Cluster).try_into().unwrap();
    assert!(clusters.resource_names_subscribe.is_empty() && clusters.initial_resource_versions.is_empty());
    let told = accept(&mut machine, delta(Cluster, "n1", &[("a|1|1:a", "v1"), ("b|1|1:b", "v1")], &[]));
    let [ack] = deltas(&told, Cluster).try_into().unwrap();
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("n1", None));
    let [endpoints] = deltas(&told, Endpoints).try_into().unwrap();
    assert_eq!(endpoints.resource_names_subscribe, ["a", "b"]);
    let told = accept(&mut machine, delta(Cluster, "n2", &[("c|1|1:c", "v2")], &["a", "never"]));
    let [endpoints] = deltas(&told, Endpoints).try_into().unwrap();
    assert_eq!(
        (endpoints.resource_names_subscribe, endpoints.resource_names_unsubscribe),
        (vec!["c".to_owned()], vec!["a".to_owned()])
    );
    machine.disconnected(0);
    machine.connected(0, START);
    let again = outputs(&mut machine);
    let [clusters] = deltas(&again, Cluster).try_into().unwrap();
    let mut versions: Vec<_> = clusters.initial_resource_versions.into_iter().collect();
    versions.sort();
    assert_eq!(versions, [("b".to_owned(), "v1".to_owned()), ("c".to_owned(), "v2".to_owned())]);
}

#[test]
fn what_is_being_told_gone_is_not_told_twice_when_nobody_wants_it_any_more() {
    let mut machine = machine(Mode::Delta, Streams::Aggregated);
    machine.subscribe(Endpoints, ["e".to_owned()], START);
    machine.connected(0, START);
    outputs(&mut machine);
    accept(&mut machine, delta(Endpoints, "n1", &[("e|1", "v1")], &[]));
    machine.received(0, delta(Endpoints, "n2", &[], &["e"]), START);
    let (id, update) = delivered(&outputs(&mut machine));
    assert_eq!(update.removed, ["e"]);
    machine.unsubscribe(Endpoints, &["e".to_owned()], START);
    machine.judged(id, Verdict::default(), START);
    assert!(!outputs(&mut machine).iter().any(|output| matches!(output, Output::Tell(_))));
}

#[test]
fn delta_names_what_is_refused_and_keeps_what_was_there() {
    let mut machine = machine(Mode::Delta, Streams::Aggregated);
    machine.connected(0, START);
    accept(&mut machine, delta(Cluster, "n1", &[("a|1", "v1")], &[]));
    machine.received(0, delta(Cluster, "n2", &[("a|broken", "v2"), ("b|2", "v2")], &[]), START);
    let (id, update) = delivered(&outputs(&mut machine));
    assert_eq!(names(&update), ["b"]);
    machine.judged(id, Verdict::default(), START);
    let told = outputs(&mut machine);
    let [nack] = deltas(&told, Cluster).try_into().unwrap();
    assert_eq!(
        (nack.response_nonce.as_str(), nack.error_detail.unwrap().message.as_str()),
        ("n2", "cluster \"a\": cannot be read")
    );
    let versions: Vec<_> = machine.kept().0.iter().map(|kept| (kept.name.clone(), kept.version.clone())).collect();
    assert_eq!(versions, [("a".to_owned(), "v1".to_owned()), ("b".to_owned(), "v2".to_owned())]);
}

#[test]
fn names_beside_a_wildcard_keep_the_wildcard() {
    for mode in [Mode::StateOfTheWorld, Mode::Delta] {
        let mut machine = machine(mode, Streams::Aggregated);
        machine.connected(0, START);
        outputs(&mut machine);
        machine.subscribe(Cluster, ["late".to_owned()], START);
        let told = outputs(&mut machine);
        let named = match mode {
            Mode::StateOfTheWorld => requests(&told, Cluster).remove(0).resource_names,
            Mode::Delta => deltas(&told, Cluster).remove(0).resource_names_subscribe,
        };
        assert_eq!(named, ["*", "late"], "{mode:?}");
    }
}

#[test]
fn what_does_not_come_in_time_is_said_once() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    machine.subscribe(RouteConfiguration, ["r".to_owned()], START);
    outputs(&mut machine);
    assert_eq!(machine.deadline(), Some(FETCH));
    machine.tick(FETCH - Duration::from_millis(1));
    assert!(outputs(&mut machine).is_empty());
    machine.tick(FETCH);
    let missing: Vec<_> = outputs(&mut machine)
        .into_iter()
        .map(|output| match output {
            Output::Missing(kind, names) => (kind, names),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [(Cluster, Vec::new()), (Listener, Vec::new()), (RouteConfiguration, vec!["r".to_owned()])];
    assert_eq!(missing, expected);
    machine.tick(FETCH * 10);
    assert!(outputs(&mut machine).is_empty());
    assert_eq!(machine.deadline(), None);
    // It may still come.
    machine.received(0, state(RouteConfiguration, "1", "n", &["r|1"]), FETCH * 11);
    assert_eq!(names(&delivered(&outputs(&mut machine)).1), ["r"]);
}

#[test]
fn a_resource_lives_as_long_as_it_is_heard_of() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    outputs(&mut machine);
    let wrapped = |content: Option<&str>, nonce: &str| {
        let resource = Wrapped {
            version: String::new(),
            resource: content.map(|text| any(Cluster, text)),
            name: "a".to_owned(),
            aliases: Vec::new(),
            ttl: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        };
        let any = Any {
            type_url: format!("type.googleapis.com/{}", messages::WRAPPER),
            value: resource.encode_to_vec().into(),
        };
        Response::State(DiscoveryResponse {
            version_info: "1".to_owned(),
            resources: vec![any],
            type_url: Cluster.type_url(),
            nonce: nonce.to_owned(),
        })
    };
    accept(&mut machine, wrapped(Some("a|1"), "n1"));
    let (kept, versions) = machine.kept();
    assert!(kept.is_empty() && !versions.contains_key(&Cluster), "a start would not get it again");
    let at = Duration::from_secs;
    assert_eq!(machine.deadline().map(|_| ()), Some(()));
    machine.received(0, wrapped(None, "n2"), at(8));
    let told = outputs(&mut machine);
    assert_eq!(requests(&told, Cluster).len(), 1, "a sign of life is acknowledged");
    machine.tick(at(11));
    assert!(!outputs(&mut machine).iter().any(|output| matches!(output, Output::Tell(_))));
    machine.tick(at(18));
    let told = outputs(&mut machine);
    assert!(told.iter().any(|output| matches!(output, Output::Tell(update) if update.removed == ["a"])), "{told:?}");
    assert!(machine.kept().0.is_empty());
}

#[test]
fn what_nobody_asked_for_is_passed_over() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    outputs(&mut machine);
    let strange = Response::State(DiscoveryResponse {
        type_url: "type.googleapis.com/x.Y".to_owned(),
        ..DiscoveryResponse::default()
    });
    machine.received(0, strange, START);
    assert!(matches!(outputs(&mut machine).as_slice(), [Output::Stray(_)]));
    // Endpoints that nobody refers to.
    machine.received(0, state(Endpoints, "1", "e", &["x|1"]), START);
    let told = outputs(&mut machine);
    assert!(!told.iter().any(|output| matches!(output, Output::Deliver(..))), "{told:?}");
}

#[test]
fn what_others_need_comes_first_where_there_are_several_streams() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Separate);
    for stream in machine.stream_numbers() {
        machine.connected(stream, START);
    }
    outputs(&mut machine);
    let stream = |kind: ResourceType| ResourceType::ALL.iter().position(|one| *one == kind).unwrap();
    machine.received(stream(Listener), state(Listener, "1", "l1", &["first|1"]), START);
    let (id, _) = delivered(&outputs(&mut machine));
    machine.received(stream(Listener), state(Listener, "2", "l2", &["l|2"]), START);
    machine.received(stream(Cluster), state(Cluster, "1", "c1", &["c|1"]), START);
    machine.judged(id, Verdict::default(), START);
    let (_, update) = delivered(&outputs(&mut machine));
    assert_eq!(update.kind, Cluster);
}

#[test]
fn what_was_kept_is_asked_about_first_and_need_not_come_again() {
    let mut before = machine(Mode::Delta, Streams::Aggregated);
    before.connected(0, START);
    accept(&mut before, delta(Cluster, "n1", &[("a|1|1:a", "v1")], &[]));
    accept(&mut before, delta(Endpoints, "e1", &[("a|1", "v5")], &[]));
    let (kept, versions) = before.kept();
    let mut after = machine(Mode::Delta, Streams::Aggregated);
    after.restore(kept, &versions, START);
    for expected in ["a", "a"] {
        assert!(after.is_restoring());
        let (id, update) = delivered(&outputs(&mut after));
        assert!(update.restored);
        assert_eq!(names(&update), [expected]);
        after.judged(id, Verdict::default(), START);
    }
    assert!(!after.is_restoring());
    outputs(&mut after);
    after.connected(0, START);
    let told = outputs(&mut after);
    let [endpoints] = deltas(&told, Endpoints).try_into().unwrap();
    assert_eq!(endpoints.initial_resource_versions.get("a").map(String::as_str), Some("v5"));
}

#[test]
fn reasons_are_bounded() {
    let mut machine = machine(Mode::StateOfTheWorld, Streams::Aggregated);
    machine.connected(0, START);
    outputs(&mut machine);
    let many: Vec<String> = (0..5000).map(|index| format!("cluster-{index}|broken")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    machine.received(0, state(Cluster, "1", "n", &many), START);
    let told = outputs(&mut machine);
    let [nack] = requests(&told, Cluster).try_into().unwrap();
    let message = nack.error_detail.unwrap().message;
    assert!(message.len() < 20_000 && message.ends_with("more"), "{}", message.len());
}
