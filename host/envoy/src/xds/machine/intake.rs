//! From a response to an update.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::{
    Accepted, Held, Machine, Mode, Output, Outstanding, Queued, Resource, ResourceType, Response, Streams, Update,
};
use crate::xds::messages::{self, Any, WRAPPER};

/// Responses that wait: more are left in the socket.
const MOST_QUEUED: usize = 16;
const MOST_BYTES: usize = 64 << 20;

/// What a response takes in memory, roughly.
pub(super) fn size(response: &Response) -> usize {
    match response {
        Response::State(response) => response.resources.iter().map(|any| any.value.len() + 64).sum(),
        Response::Delta(response) => {
            let resources = response.resources.iter();
            resources.map(|one| one.resource.as_ref().map_or(0, |any| any.value.len()) + 64).sum()
        }
    }
}

/// A response's resources, whichever protocol it is of.
struct Taken {
    version: String,
    nonce: String,
    resources: Vec<One>,
    /// Named as gone.
    removed: Vec<String>,
    /// What is absent is gone.
    complete: bool,
}

/// One resource of a response.
struct One {
    /// What its envelope says.
    name: String,
    version: String,
    ttl: Option<Duration>,
    /// `None`: it is as it was, and lives on.
    any: Option<Any>,
    /// Its envelope cannot be read.
    problem: Option<String>,
}

impl Machine {
    /// Whether there is room for another response.
    pub fn has_room(&self) -> bool {
        self.queue.len() < MOST_QUEUED && self.queued_bytes < MOST_BYTES
    }

    /// A response came on a stream.
    pub fn received(&mut self, stream: usize, response: Response, now: Duration) {
        let kind = ResourceType::of_url(response.type_url()).filter(|kind| self.types.contains_key(kind));
        let Some(kind) = kind.filter(|kind| self.stream_of(*kind) == stream) else {
            let reason = format!("a response of type {:?}, which nobody has asked for", response.type_url());
            self.output.push_back(Output::Stray(reason));
            return;
        };
        let opened = self.opened.get(&stream).map_or(0, |(opened, _)| *opened);
        self.queued_bytes += size(&response);
        self.queue.push_back(Queued { kind, from: Some((stream, opened)), response });
        self.advance(now);
    }

    /// Gives the application the next update, if it has none: of what waits, what is made before the other.
    pub(super) fn advance(&mut self, now: Duration) {
        while self.outstanding.is_none() {
            // On one stream the control plane says the order; of several, what others need comes first.
            let order = |(index, queued): &(usize, &Queued)| match self.streams {
                Streams::Aggregated => (None, *index),
                Streams::Separate => (Some(queued.kind), *index),
            };
            let first = self.queue.iter().enumerate().min_by_key(order);
            let Some(index) = first.map(|(index, _)| index) else { return };
            let Some(queued) = self.queue.remove(index) else { return };
            self.queued_bytes = self.queued_bytes.saturating_sub(size(&queued.response));
            self.process(queued, now);
        }
    }

    fn process(&mut self, queued: Queued, now: Duration) {
        let Queued { kind, from, response } = queued;
        let taken = match response {
            Response::State(response) => of_state(kind, response),
            Response::Delta(response) => of_delta(response),
        };
        let mut outstanding = Outstanding {
            id: self.next,
            kind,
            from,
            nonce: taken.nonce.clone(),
            version: taken.version.clone(),
            candidates: BTreeMap::new(),
            removed: Vec::new(),
            refused: Vec::new(),
            mended: Vec::new(),
        };
        self.next += 1;
        let mut added = Vec::new();
        let mentioned = self.resources(kind, &taken, &mut outstanding, &mut added, now);
        self.pass_over_held(kind, from);
        let Some(state) = self.types.get_mut(&kind) else { return };
        let unheard = state.unheard.take_if(|_| from.is_some());
        let first = unheard.is_some_and(|opened| now.saturating_sub(opened) < self.fetch_timeout);
        if from.is_some() {
            state.nonce.clone_from(&taken.nonce);
            // There is no other with a wildcard than this one.
            state.awaited.remove("");
            state.late.remove("");
        }
        // Who asks for a cluster by name waits for it; others may still come to be while what refers to them is there.
        let is_awaited = |name: &&String| kind == ResourceType::Cluster && state.awaited.contains_key(*name);
        let absent: Vec<String> = taken.removed.iter().filter(is_awaited).cloned().collect();
        for name in mentioned.names.iter().chain(&taken.removed) {
            state.awaited.remove(name);
            state.late.remove(name);
        }
        if !absent.is_empty() {
            self.output.push_back(Output::Missing(kind, absent));
        }
        let spoken = |name: &String| {
            taken.complete || is_anonymous(name) || mentioned.names.contains(name) || taken.removed.contains(name)
        };
        outstanding.mended = state.refused.extract_if(.., spoken).collect();
        outstanding.removed = taken.removed.iter().filter(|name| state.accepted.contains_key(*name)).cloned().collect();
        // One that nobody can name may be any of those that are absent.
        if taken.complete && !mentioned.nameless {
            let absent = state.accepted.keys().filter(|name| !mentioned.names.contains(*name));
            outstanding.removed.extend(absent.cloned());
        }
        let taken_away = |name: &&String| state.accepted.get(*name).is_some_and(|resource| resource.taken_away);
        let is_added = |name: &str| outstanding.candidates.contains_key(name);
        let named = mentioned.names.iter().filter(|name| !is_added(name)).filter(taken_away).cloned().collect();
        let update = Update {
            kind,
            added,
            removed: outstanding.removed.clone(),
            restored: outstanding.from.is_none(),
            first,
            complete: taken.complete && state.wildcard,
            named,
        };
        if update.added.is_empty() && update.removed.is_empty() {
            self.conclude(outstanding, now);
            return;
        }
        self.output.push_back(Output::Deliver(outstanding.id, update));
        self.outstanding = Some(outstanding);
    }

    /// Another response has come although the last one was not answered yet. The answer to a state of the world is for the last one alone.
    fn pass_over_held(&mut self, kind: ResourceType, from: Option<(usize, u64)>) {
        let held = self.types.get_mut(&kind).filter(|_| from.is_some()).and_then(|state| state.held.take());
        if let (Some(Held { nonce, error, .. }), Mode::Delta) = (held, self.mode) {
            self.answer_delta(kind, nonce, Some(error));
        }
    }

    /// Looks at every resource of a response.
    fn resources(
        &mut self,
        kind: ResourceType,
        taken: &Taken,
        outstanding: &mut Outstanding,
        added: &mut Vec<Resource>,
        now: Duration,
    ) -> Mentioned {
        let mut mentioned = Mentioned::default();
        // A state of the world says names only inside of resources.
        let same: HashMap<Bytes, String> =
            match (self.types.get(&kind), taken.resources.iter().any(|one| one.name.is_empty())) {
                (Some(state), true) => {
                    state.accepted.iter().map(|(name, resource)| (resource.bytes.clone(), name.clone())).collect()
                }
                _ => HashMap::new(),
            };
        for (index, one) in taken.resources.iter().enumerate() {
            if let Some(problem) = &one.problem {
                mentioned.nameless = true;
                outstanding.refused.push((anonymous(index), problem.clone()));
                continue;
            }
            let expires = one.ttl.map(|ttl| now + ttl);
            let Some(any) = &one.any else {
                mentioned.names.insert(one.name.clone());
                self.live_on(kind, &one.name, expires);
                continue;
            };
            // Those that are the same need not be read to know it.
            let known = match one.name.as_str() {
                "" => same.get(&any.value).cloned(),
                name => Some(name.to_owned()),
            };
            if let Some(name) = known.filter(|name| self.has(kind, name, any)) {
                self.unchanged(kind, &name, &one.version, expires);
                if !mentioned.names.insert(name.clone()) {
                    outstanding.refused.push((name, "is there twice".to_owned()));
                }
                continue;
            }
            let decoded = match self.codec.read(kind, &any.type_url, &any.value) {
                Ok(decoded) if one.name.is_empty() || one.name == decoded.name => decoded,
                Ok(decoded) => {
                    mentioned.names.insert(one.name.clone());
                    outstanding.refused.push((one.name.clone(), format!("is called {:?} in itself", decoded.name)));
                    continue;
                }
                Err(reason) => {
                    if one.name.is_empty() {
                        mentioned.nameless = true;
                        outstanding.refused.push((anonymous(index), reason));
                    } else {
                        mentioned.names.insert(one.name.clone());
                        outstanding.refused.push((one.name.clone(), reason));
                    }
                    continue;
                }
            };
            let name = decoded.name;
            if !mentioned.names.insert(name.clone()) {
                // Which of them is meant nobody knows.
                if outstanding.candidates.remove(&name).is_some() {
                    added.retain(|resource| resource.name != name);
                }
                outstanding.refused.push((name, "is there twice".to_owned()));
                continue;
            }
            if !self.is_wanted(kind, &name) {
                continue;
            }
            let accepted = Accepted {
                version: one.version.clone(),
                type_url: any.type_url.clone(),
                bytes: any.value.clone(),
                references: decoded.references,
                expires,
                taken_away: false,
            };
            added.push(Resource { name: name.clone(), version: one.version.clone(), value: decoded.value });
            outstanding.candidates.insert(name, accepted);
        }
        mentioned
    }

    /// Whether a resource is accepted as it is in a response.
    fn has(&self, kind: ResourceType, name: &str, any: &Any) -> bool {
        let there = self.types.get(&kind).and_then(|state| state.accepted.get(name));
        there.is_some_and(|there| !there.taken_away && there.bytes == any.value && there.type_url == any.type_url)
    }

    fn live_on(&mut self, kind: ResourceType, name: &str, expires: Option<Duration>) {
        if let Some(resource) = self.types.get_mut(&kind).and_then(|state| state.accepted.get_mut(name)) {
            resource.expires = expires;
        }
    }

    fn unchanged(&mut self, kind: ResourceType, name: &str, version: &str, expires: Option<Duration>) {
        self.live_on(kind, name, expires);
        if let Some(resource) = self.types.get_mut(&kind).and_then(|state| state.accepted.get_mut(name)) {
            version.clone_into(&mut resource.version);
        }
    }
}

/// A resource that cannot be read is called after its place.
fn anonymous(index: usize) -> String {
    format!("resources[{index}]")
}

pub(super) fn is_anonymous(name: &str) -> bool {
    name.starts_with("resources[")
}

/// Which resources a response speaks of.
#[derive(Default)]
struct Mentioned {
    names: BTreeSet<String>,
    /// And of some that cannot be named.
    nameless: bool,
}

fn of_state(kind: ResourceType, response: messages::DiscoveryResponse) -> Taken {
    let version = response.version_info;
    let one = |any: Any| {
        if crate::type_name(&any.type_url) != WRAPPER {
            return One { name: String::new(), version: version.clone(), ttl: None, any: Some(any), problem: None };
        }
        match messages::Resource::decode(any.value) {
            Ok(resource) => wrapped(resource, &version),
            Err(error) => One {
                name: String::new(),
                version: version.clone(),
                ttl: None,
                any: None,
                problem: Some(format!("not a message of type {WRAPPER}: {error}")),
            },
        }
    };
    let resources = response.resources.into_iter().map(one).collect();
    Taken {
        version: version.clone(),
        nonce: response.nonce,
        resources,
        removed: Vec::new(),
        complete: kind.is_wildcard(),
    }
}

fn of_delta(response: messages::DeltaDiscoveryResponse) -> Taken {
    let version = response.system_version_info;
    let resources = response.resources.into_iter().map(|resource| wrapped(resource, "")).collect();
    Taken { version, nonce: response.nonce, resources, removed: response.removed_resources, complete: false }
}

fn wrapped(resource: messages::Resource, version: &str) -> One {
    let ttl = resource.ttl.and_then(|ttl| Duration::try_from(ttl).ok());
    let version = if resource.version.is_empty() { version.to_owned() } else { resource.version };
    let problem = (resource.resource.is_none() && resource.name.is_empty()).then(|| "is empty".to_owned());
    One { name: resource.name, version, ttl, any: resource.resource, problem }
}
