//! The protocol without I/O. Whoever drives it tells what came and when, and does what [`Output`] says.
//!
//! Per type there are the names that are wanted (by the operator, on demand, or because an accepted resource refers to them), what has been
//! accepted, and, for the stream in use, what the control plane has been asked for. A response is taken apart into an [`Update`], which goes to
//! the application; its verdict is the acknowledgement. Time is a [`Duration`] since any moment, the same for all calls.
//!
//! Many control planes answer a refusal at once with the same again. Then what has not changed is told once, and the next refusal is held back,
//! for longer each time.

mod apply;
mod intake;
mod kept;
mod subscribe;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::{
    Backoff, ResourceType,
    codec::Codec,
    messages::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse},
};
pub(super) use kept::Kept;

/// How a control plane tells what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// All of it, each time.
    #[default]
    StateOfTheWorld,
    /// What has changed.
    Delta,
}

/// How many streams there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streams {
    /// One for all types (ADS), in the order in which the control plane sends.
    #[default]
    Aggregated,
    /// One for each type.
    Separate,
}

/// A resource of an update.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Its version; of a state of the world that of the whole response.
    pub version: String,
    /// It in canonical form.
    pub value: Value,
}

/// What has changed of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// The type.
    pub kind: ResourceType,
    /// New and changed resources.
    pub added: Vec<Resource>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// It is from disk: the control plane has not been heard yet.
    pub restored: bool,
    /// It is the first that the control plane says of the type on its stream, soon after that was opened.
    pub first: bool,
    /// What it does not name is not there.
    pub complete: bool,
    /// Of what stays although it was taken away, what is named again and refused before the application hears of it.
    pub named: Vec<String>,
}

impl Update {
    /// One that says nothing of a type.
    #[must_use]
    pub fn of(kind: ResourceType) -> Self {
        let (added, removed, named) = Default::default();
        Self { kind, added, removed, restored: false, first: false, complete: false, named }
    }
}

/// What the application makes of an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Resources that it did not take, by name, and why. The others are applied.
    pub refused: Vec<(String, String)>,
    /// Of those that are gone, what it cannot do without: they stay accepted, with what they refer to.
    pub stays: Vec<String>,
    /// What has stayed so, and is gone now.
    pub gone: Vec<(ResourceType, String)>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Output {
    /// Send this on a stream.
    Send(usize, Request),
    /// Give this to the application, and come back with its verdict.
    Deliver(u64, Update),
    /// Give this to the application; nobody waits for what it says.
    Tell(Update),
    /// Nothing came in time for these names; of a wildcard there are none.
    Missing(ResourceType, Vec<String>),
    /// Something was refused, as it was said to the control plane.
    Refused(ResourceType, Vec<(String, String)>),
    /// What was refused under these names is so no more: it is good, or gone.
    Mended(ResourceType, Vec<String>),
    /// A response means nothing here.
    Stray(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    State(Box<DiscoveryRequest>),
    Delta(Box<DeltaDiscoveryRequest>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Response {
    State(DiscoveryResponse),
    Delta(DeltaDiscoveryResponse),
}

impl Response {
    fn type_url(&self) -> &str {
        match self {
            Self::State(response) => &response.type_url,
            Self::Delta(response) => &response.type_url,
        }
    }
}

/// A resource that the application has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Accepted {
    version: String,
    type_url: String,
    bytes: Bytes,
    references: Vec<(ResourceType, String)>,
    /// When it ceases to be, without being heard of again.
    expires: Option<Duration>,
    /// The control plane has taken it away, and it stays: that it names it again is news, however it is.
    taken_away: bool,
}

/// All about one type.
#[derive(Debug, Default)]
struct TypeState {
    /// Names that somebody wants, whatever refers to them.
    wanted: BTreeSet<String>,
    /// All resources are wanted.
    wildcard: bool,
    accepted: BTreeMap<String, Accepted>,
    /// Of the last state of the world that was accepted whole.
    version: String,
    /// The last response on this stream.
    nonce: String,
    /// When the stream was opened, until the first response.
    unheard: Option<Duration>,
    /// What the control plane knows to be wanted; `None`: it was not asked yet on this stream.
    asked: Option<BTreeSet<String>>,
    /// Until when names may take to come; the empty one is the wildcard.
    awaited: BTreeMap<String, Duration>,
    /// Those that have not come in time, which is said once.
    late: BTreeSet<String>,
    /// Names of which the last that came is refused.
    refused: BTreeSet<String>,
    /// What the last response was refused for.
    refusal: Option<Refusal>,
    /// The answer to it, which waits.
    held: Option<Held>,
}

/// Why a response was refused.
#[derive(Debug)]
struct Refusal {
    from: Option<(usize, u64)>,
    version: String,
    refused: Vec<(String, String)>,
    backoff: Backoff,
}

/// An answer that is held back.
#[derive(Debug)]
struct Held {
    until: Duration,
    nonce: String,
    error: messages::Status,
}

/// A response that waits for its turn.
#[derive(Debug)]
struct Queued {
    kind: ResourceType,
    /// On which stream, and the how-manieth of it; `None`: from disk.
    from: Option<(usize, u64)>,
    response: Response,
}

/// What the application is looking at.
#[derive(Debug)]
struct Outstanding {
    id: u64,
    kind: ResourceType,
    from: Option<(usize, u64)>,
    nonce: String,
    version: String,
    candidates: BTreeMap<String, Accepted>,
    removed: Vec<String>,
    refused: Vec<(String, String)>,
    /// What was refused before, and is spoken of again or said to be gone.
    mended: Vec<String>,
}

/// The protocol, of one control plane.
pub(super) struct Machine {
    mode: Mode,
    streams: Streams,
    node: messages::Node,
    codec: Box<dyn Codec>,
    fetch_timeout: Duration,
    /// Between refusals of the same.
    backoff: Backoff,
    types: BTreeMap<ResourceType, TypeState>,
    /// How many accepted resources refer to a resource.
    references: BTreeMap<(ResourceType, String), usize>,
    /// For each stream how often it has been opened; `true`: it is open.
    opened: BTreeMap<usize, (u64, bool)>,
    /// Streams on which the node was told.
    introduced: BTreeSet<usize>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    outstanding: Option<Outstanding>,
    next: u64,
    output: VecDeque<Output>,
    changed: bool,
}

impl Machine {
    /// Each type with whether everything of it is asked for, or what has a name.
    pub fn new(
        mode: Mode,
        streams: Streams,
        types: impl IntoIterator<Item = (ResourceType, bool)>,
        node: messages::Node,
        codec: Box<dyn Codec>,
        fetch_timeout: Duration,
        backoff: Backoff,
    ) -> Self {
        let state = |(kind, wildcard)| (kind, TypeState { wildcard, ..TypeState::default() });
        Self {
            mode,
            streams,
            node,
            codec,
            fetch_timeout,
            backoff,
            types: types.into_iter().map(state).collect(),
            references: BTreeMap::new(),
            opened: BTreeMap::new(),
            introduced: BTreeSet::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            outstanding: None,
            next: 0,
            output: VecDeque::new(),
            changed: false,
        }
    }

    /// What is to be done next.
    pub fn output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Which types a stream is for.
    pub fn types_of(&self, stream: usize) -> Vec<ResourceType> {
        let all = self.types.keys().copied();
        match self.streams {
            Streams::Aggregated => all.collect(),
            Streams::Separate => all.filter(|kind| self.stream_of(*kind) == stream).collect(),
        }
    }

    /// Whether there is anything to ask for on a stream. A control plane need not have the services of types that nobody wants.
    pub fn asks(&self, stream: usize) -> bool {
        let wants = |kind: &ResourceType| {
            let is_wanted = self.types.get(kind).is_some_and(|state| state.wildcard || !state.wanted.is_empty());
            let from = (*kind, String::new());
            is_wanted || self.references.range(from..).next().is_some_and(|((of, _), _)| of == kind)
        };
        self.streams == Streams::Aggregated || self.types_of(stream).iter().any(wants)
    }

    /// The numbers of all streams.
    pub fn stream_numbers(&self) -> Vec<usize> {
        let numbers: BTreeSet<usize> = self.types.keys().map(|kind| self.stream_of(*kind)).collect();
        numbers.into_iter().collect()
    }

    fn stream_of(&self, kind: ResourceType) -> usize {
        match self.streams {
            Streams::Aggregated => 0,
            Streams::Separate => ResourceType::ALL.iter().position(|one| *one == kind).unwrap_or(0),
        }
    }

    /// The next moment at which [`Machine::tick`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let states = || self.types.values();
        let expiries = states().flat_map(|state| state.accepted.values().filter_map(|resource| resource.expires));
        let held = states().filter_map(|state| state.held.as_ref().map(|held| held.until));
        expiries.chain(states().flat_map(|state| state.awaited.values().copied())).chain(held).min()
    }

    /// Looks at the clock: what has not come in time, what has ceased to be, and what was held back for long enough.
    pub fn tick(&mut self, now: Duration) {
        let (mut expired, mut due) = (Vec::new(), Vec::new());
        for (kind, state) in &mut self.types {
            due.extend(state.held.take_if(|held| held.until <= now).map(|held| (*kind, held)));
            let late: Vec<String> =
                state.awaited.iter().filter(|(_, until)| **until <= now).map(|(name, _)| name.clone()).collect();
            state.awaited.retain(|_, until| *until > now);
            state.late.extend(late.iter().cloned());
            if !late.is_empty() {
                let names = late.into_iter().filter(|name| !name.is_empty()).collect();
                self.output.push_back(Output::Missing(*kind, names));
            }
            let gone = state.accepted.iter().filter(|(_, resource)| resource.expires.is_some_and(|at| at <= now));
            let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
            if !gone.is_empty() {
                expired.push((*kind, gone));
            }
        }
        for (kind, Held { nonce, error, .. }) in due {
            self.answer(kind, nonce, Some(error));
        }
        for (kind, names) in expired {
            self.forget(kind, &names);
            self.tell_removed(kind, names);
        }
        self.follow(now);
    }

    fn tell_removed(&mut self, kind: ResourceType, mut removed: Vec<String>) {
        // What the application is just being told is gone is not told twice.
        if let Some(outstanding) = self.outstanding.as_ref().filter(|outstanding| outstanding.kind == kind) {
            removed.retain(|name| !outstanding.removed.contains(name));
        }
        if !removed.is_empty() {
            self.output.push_back(Output::Tell(Update { removed, ..Update::of(kind) }));
        }
    }

    /// Whether what is accepted has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}
