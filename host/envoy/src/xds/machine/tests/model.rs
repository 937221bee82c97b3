//! A control plane and an application as models, with everything between them in any order: changes, bad resources, refusals, streams that end.
//! When all is quiet the application has what the control plane has, as far as it is good.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::{any, *};
use crate::xds::messages::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as Wrapped,
};

const KINDS: [ResourceType; 4] =
    [ResourceType::Cluster, ResourceType::Endpoints, ResourceType::Listener, ResourceType::RouteConfiguration];

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// A resource of a type becomes something else; `good`: how good it is.
    Change {
        kind: usize,
        name: usize,
        good: Good,
        refers: usize,
    },
    Remove {
        kind: usize,
        name: usize,
    },
    /// The control plane reads a request, or the machine a response.
    Read(usize),
    Write(usize),
    Judge,
    Lose,
    Want {
        kind: usize,
        name: usize,
    },
    Unwant {
        kind: usize,
        name: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Good {
    Fine,
    /// The application does not take it.
    Refused,
    /// It cannot be read.
    Broken,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (kind, name) = (0..KINDS.len(), 0..4_usize);
    let good = prop_oneof![6 => Just(Good::Fine), 1 => Just(Good::Refused), 1 => Just(Good::Broken)];
    let step = prop_oneof![
        6 => (kind.clone(), name.clone(), good, 0..4_usize)
            .prop_map(|(kind, name, good, refers)| Step::Change { kind, name, good, refers }),
        2 => (kind.clone(), name.clone()).prop_map(|(kind, name)| Step::Remove { kind, name }),
        8 => (0..7_usize).prop_map(Step::Read),
        8 => (0..7_usize).prop_map(Step::Write),
        4 => Just(Step::Judge),
        1 => Just(Step::Lose),
        1 => (kind.clone(), name.clone()).prop_map(|(kind, name)| Step::Want { kind, name }),
        1 => (kind, name).prop_map(|(kind, name)| Step::Unwant { kind, name }),
    ];
    prop::collection::vec(step, 0..120)
}

type Names = BTreeMap<String, (u64, String)>;

/// What a stream's other end remembers of a type.
#[derive(Default)]
struct Known {
    subscribed: Option<BTreeSet<String>>,
    wildcard: bool,
    nonce: String,
    /// State of the world: what was sent last. Delta: what the client has.
    sent: BTreeMap<String, u64>,
    answered: bool,
}

struct World {
    mode: Mode,
    resources: BTreeMap<ResourceType, Names>,
    clock: u64,
    streams: HashMap<usize, HashMap<ResourceType, Known>>,
    to_server: HashMap<usize, VecDeque<Request>>,
    to_client: HashMap<usize, VecDeque<Response>>,
    nonces: u64,
    /// Nonces that were sent on living streams, and not answered.
    unanswered: BTreeSet<String>,
}

impl World {
    fn read(&mut self, stream: usize) -> bool {
        let Some(request) = self.to_server.entry(stream).or_default().pop_front() else { return false };
        match request {
            Request::State(request) => self.state(stream, *request),
            Request::Delta(request) => self.delta(stream, *request),
        }
        true
    }

    fn answered(&mut self, nonce: &str) {
        if !nonce.is_empty() {
            assert!(self.unanswered.remove(nonce), "{nonce} is answered twice, or was never sent here");
        }
    }

    fn state(&mut self, stream: usize, request: DiscoveryRequest) {
        let kind = ResourceType::of_url(&request.type_url).unwrap();
        let known = self.streams.entry(stream).or_default().entry(kind).or_default();
        // It was sent before its sender saw the last response, and is passed over: the answer to that says it all again.
        if request.response_nonce != known.nonce {
            return;
        }
        let first = known.subscribed.is_none();
        let names: BTreeSet<String> = request.resource_names.iter().cloned().collect();
        known.wildcard = (first && names.is_empty() && kind.is_wildcard())
            || names.contains("*")
            || (known.wildcard && names.is_empty());
        let changed = known.subscribed.as_ref() != Some(&names);
        known.subscribed = Some(names);
        let answers = self.unanswered.contains(&request.response_nonce);
        if answers {
            self.answered(&request.response_nonce);
            self.streams.get_mut(&stream).unwrap().get_mut(&kind).unwrap().answered = true;
        }
        self.push_state(stream, kind, changed || first);
    }

    fn push_state(&mut self, stream: usize, kind: ResourceType, force: bool) {
        let Some(known) = self.streams.get_mut(&stream).and_then(|kinds| kinds.get_mut(&kind)) else { return };
        let Some(names) = known.subscribed.clone() else { return };
        if !known.nonce.is_empty() && !known.answered {
            return;
        }
        let all = self.resources.get(&kind).cloned().unwrap_or_default();
        let wanted: Names = all.into_iter().filter(|(name, _)| known.wildcard || names.contains(name)).collect();
        let versions: BTreeMap<String, u64> =
            wanted.iter().map(|(name, (version, _))| (name.clone(), *version)).collect();
        if (!force && versions == known.sent) || (wanted.is_empty() && !known.wildcard) {
            return;
        }
        known.sent = versions;
        self.nonces += 1;
        known.nonce = format!("{}", self.nonces);
        known.answered = false;
        let nonce = known.nonce.clone();
        self.unanswered.insert(nonce.clone());
        let response = DiscoveryResponse {
            version_info: self.clock.to_string(),
            resources: wanted.values().map(|(_, text)| any(kind, text)).collect(),
            type_url: kind.type_url(),
            nonce,
        };
        self.to_client.entry(stream).or_default().push_back(Response::State(response));
    }

    fn delta(&mut self, stream: usize, request: DeltaDiscoveryRequest) {
        let kind = ResourceType::of_url(&request.type_url).unwrap();
        self.answered(&request.response_nonce);
        let known = self.streams.entry(stream).or_default().entry(kind).or_default();
        let first = known.subscribed.is_none();
        let subscribed = known.subscribed.get_or_insert_with(BTreeSet::new);
        if first {
            known.wildcard = request.resource_names_subscribe.is_empty();
            known.sent = request
                .initial_resource_versions
                .iter()
                .map(|(name, version)| (name.clone(), version.parse().unwrap()))
                .collect();
        }
        for name in &request.resource_names_subscribe {
            if name == "*" {
                known.wildcard = true;
            } else {
                subscribed.insert(name.clone());
                if !first {
                    // Asked for anew, so sent anew.
                    known.sent.remove(name);
                }
            }
        }
        for name in &request.resource_names_unsubscribe {
            subscribed.remove(name);
            if !known.wildcard {
                known.sent.remove(name);
            }
        }
        // Of what is asked for and is not there servers say so: it may have been there when it was asked for before.
        let all = self.resources.get(&kind);
        let there = |name: &String| all.is_some_and(|all| all.contains_key(name));
        let missing = request.resource_names_subscribe.iter().filter(|name| *name != "*" && !there(name));
        let missing: Vec<String> = missing.cloned().collect();
        self.push_delta(stream, kind, missing);
    }

    /// `missing` was asked for just now, and is not there.
    fn push_delta(&mut self, stream: usize, kind: ResourceType, missing: Vec<String>) {
        let Some(known) = self.streams.get_mut(&stream).and_then(|kinds| kinds.get_mut(&kind)) else { return };
        let Some(names) = known.subscribed.clone() else { return };
        let all = self.resources.get(&kind).cloned().unwrap_or_default();
        let wanted: Names = all.into_iter().filter(|(name, _)| known.wildcard || names.contains(name)).collect();
        let changed = wanted.iter().filter(|(name, (version, _))| known.sent.get(*name) != Some(version));
        let resources: Vec<Wrapped> = changed
            .map(|(name, (version, text))| Wrapped {
                version: version.to_string(),
                resource: Some(any(kind, text)),
                name: name.clone(),
                aliases: Vec::new(),
                ttl: None,
            })
            .collect();
        let gone = known.sent.keys().filter(|name| !wanted.contains_key(*name) && !missing.contains(name)).cloned();
        let removed: Vec<String> = gone.chain(missing.iter().cloned()).collect();
        if resources.is_empty() && removed.is_empty() {
            return;
        }
        known.sent = wanted.iter().map(|(name, (version, _))| (name.clone(), *version)).collect();
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        self.unanswered.insert(nonce.clone());
        let response = DeltaDiscoveryResponse {
            system_version_info: self.clock.to_string(),
            resources,
            type_url: kind.type_url(),
            nonce,
            removed_resources: removed,
        };
        self.to_client.entry(stream).or_default().push_back(Response::Delta(response));
    }

    fn push(&mut self, kind: ResourceType) {
        let streams: Vec<usize> = self.streams.keys().copied().collect();
        for stream in streams {
            match self.mode {
                Mode::StateOfTheWorld => self.push_state(stream, kind, false),
                Mode::Delta => self.push_delta(stream, kind, Vec::new()),
            }
        }
    }
}

struct Test {
    world: World,
    machine: Machine,
    /// What the application has.
    applied: BTreeMap<(ResourceType, String), String>,
    judging: Option<(u64, Update)>,
    explicit: BTreeSet<(ResourceType, String)>,
    now: Duration,
}

impl Test {
    fn new(mode: Mode, streams: Streams) -> Self {
        let world = World {
            mode,
            resources: BTreeMap::new(),
            clock: 0,
            streams: HashMap::new(),
            to_server: HashMap::new(),
            to_client: HashMap::new(),
            nonces: 0,
            unanswered: BTreeSet::new(),
        };
        let mut test = Self {
            world,
            machine: machine(mode, streams),
            applied: BTreeMap::new(),
            judging: None,
            explicit: BTreeSet::new(),
            now: Duration::ZERO,
        };
        test.connect();
        test
    }

    fn connect(&mut self) {
        for stream in self.machine.stream_numbers() {
            self.machine.connected(stream, self.now);
        }
        self.flush();
    }

    fn lose(&mut self) {
        for stream in self.machine.stream_numbers() {
            self.machine.disconnected(stream);
        }
        self.flush();
        self.world.streams.clear();
        self.world.to_client.clear();
        self.world.to_server.clear();
        self.world.unanswered.clear();
        self.connect();
    }

    fn flush(&mut self) {
        while let Some(output) = self.machine.output() {
            match output {
                Output::Send(stream, request) => self.world.to_server.entry(stream).or_default().push_back(request),
                Output::Deliver(id, update) => {
                    assert!(self.judging.is_none(), "two updates at a time");
                    self.judging = Some((id, update));
                }
                Output::Tell(update) => {
                    assert!(update.added.is_empty());
                    for name in update.removed {
                        assert!(self.applied.remove(&(update.kind, name)).is_some());
                    }
                }
                Output::Missing(..) | Output::Refused(..) | Output::Mended(..) => {}
                Output::Stray(reason) => panic!("{reason}"),
            }
        }
    }

    fn judge(&mut self) -> bool {
        let Some((id, update)) = self.judging.take() else { return false };
        let mut verdict = Verdict::default();
        for resource in update.added {
            let content = resource.value.as_str().unwrap().to_owned();
            if content.contains("refused") {
                verdict.refused.push((resource.name, "no".to_owned()));
            } else {
                self.applied.insert((update.kind, resource.name), content);
            }
        }
        for name in update.removed {
            assert!(self.applied.remove(&(update.kind, name)).is_some(), "what is gone was there");
        }
        self.machine.judged(id, verdict, self.now);
        self.flush();
        true
    }

    fn write(&mut self, stream: usize) -> bool {
        if !self.machine.has_room() {
            return false;
        }
        let Some(response) = self.world.to_client.entry(stream).or_default().pop_front() else { return false };
        self.machine.received(stream, response, self.now);
        self.flush();
        true
    }

    fn step(&mut self, step: Step) {
        self.now += Duration::from_millis(10);
        match step {
            Step::Change { kind, name, good, refers } => {
                self.world.clock += 1;
                let (version, kind, name) = (self.world.clock, KINDS[kind], format!("r{name}"));
                let content = match good {
                    Good::Fine => format!("good {version}"),
                    Good::Refused => format!("refused {version}"),
                    Good::Broken => "broken".to_owned(),
                };
                let references = match kind {
                    ResourceType::Cluster => format!("1:r{refers}"),
                    ResourceType::Listener => format!("3:r{refers}"),
                    _ => String::new(),
                };
                let text = format!("{name}|{content}|{references}");
                self.world.resources.entry(kind).or_default().insert(name, (version, text));
                self.world.push(kind);
            }
            Step::Remove { kind, name } => {
                self.world.clock += 1;
                self.world.resources.entry(KINDS[kind]).or_default().remove(&format!("r{name}"));
                self.world.push(KINDS[kind]);
            }
            Step::Read(stream) => _ = self.world.read(stream),
            Step::Write(stream) => _ = self.write(stream),
            Step::Judge => _ = self.judge(),
            Step::Lose => self.lose(),
            Step::Want { kind, name } => {
                let (kind, name) = (KINDS[kind], format!("r{name}"));
                self.explicit.insert((kind, name.clone()));
                self.machine.subscribe(kind, [name], self.now);
            }
            Step::Unwant { kind, name } => {
                let (kind, name) = (KINDS[kind], format!("r{name}"));
                self.explicit.remove(&(kind, name.clone()));
                self.machine.unsubscribe(kind, &[name], self.now);
            }
        }
        self.flush();
    }

    /// Everything that is under way arrives.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = self.judge();
            for stream in 0..7 {
                moved |= self.world.read(stream);
                moved |= self.write(stream);
            }
            if !moved {
                // Answers that are held back come as well.
                let Some(at) = self.machine.deadline() else { return };
                self.now = self.now.max(at);
                self.machine.tick(self.now);
                self.flush();
            }
        }
        panic!("it never ends");
    }

    fn check(&self) {
        assert!(self.world.unanswered.is_empty(), "not answered: {:?}", self.world.unanswered);
        // The machine and the application are of one mind.
        let (kept, _) = self.machine.kept();
        let kept: BTreeMap<_, _> = kept
            .iter()
            .map(|kept| {
                let text = String::from_utf8_lossy(&kept.bytes).into_owned();
                ((kept.kind, kept.name.clone()), text.split('|').nth(1).unwrap().to_owned())
            })
            .collect();
        assert_eq!(kept, self.applied);
        // What is wanted: by everybody, or by what is there.
        let mut wanted = self.explicit.clone();
        for (kind, name) in self.applied.keys() {
            let Some((_, text)) = self.world.resources.get(kind).and_then(|names| names.get(name)) else { continue };
            if !text.contains("|good") {
                continue;
            }
            if let Some((place, name)) = text.split('|').nth(2).and_then(|reference| reference.split_once(':')) {
                wanted.insert((ResourceType::ALL[place.parse::<usize>().unwrap()], name.to_owned()));
            }
        }
        for kind in KINDS {
            let world = self.world.resources.get(&kind).cloned().unwrap_or_default();
            for (name, (_, text)) in &world {
                let content = text.split('|').nth(1).unwrap();
                let is_wanted = kind.is_wildcard() || wanted.contains(&(kind, name.clone()));
                if is_wanted && content.starts_with("good") {
                    let applied = self.applied.get(&(kind, name.clone())).map(String::as_str);
                    assert_eq!(applied, Some(content), "{kind:?} {name}");
                }
            }
            // What is gone is gone, where the protocol says so. One that cannot be read may be any that is absent.
            let readable = !world.values().any(|(_, text)| text.contains("|broken|"));
            let told = match self.world.mode {
                Mode::Delta => true,
                Mode::StateOfTheWorld => kind.is_wildcard() && readable,
            };
            if told {
                for (of, name) in self.applied.keys().filter(|(of, _)| *of == kind) {
                    assert!(world.contains_key(name), "{of:?} {name} is gone");
                }
            }
        }
    }
}

fn run(mode: Mode, streams: Streams, steps: Vec<Step>) {
    let mut test = Test::new(mode, streams);
    for step in steps {
        test.step(step);
    }
    test.settle();
    test.check();
    // And once more over a new connection, which must change nothing.
    let before = test.applied.clone();
    test.lose();
    test.settle();
    test.check();
    assert_eq!(test.applied, before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_state_of_the_world_arrives_over_one_stream(steps in steps()) {
        run(Mode::StateOfTheWorld, Streams::Aggregated, steps);
    }

    #[test]
    fn the_state_of_the_world_arrives_over_several_streams(steps in steps()) {
        run(Mode::StateOfTheWorld, Streams::Separate, steps);
    }

    #[test]
    fn changes_arrive_over_one_stream(steps in steps()) {
        run(Mode::Delta, Streams::Aggregated, steps);
    }

    #[test]
    fn changes_arrive_over_several_streams(steps in steps()) {
        run(Mode::Delta, Streams::Separate, steps);
    }
}
