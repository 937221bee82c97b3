//! What the control plane is asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Machine, Mode, Output, Request, ResourceType, intake::is_anonymous};
use crate::xds::messages::{DeltaDiscoveryRequest, DiscoveryRequest, Status};

/// All resources, named beside others.
const EVERYTHING: &str = "*";

impl Machine {
    /// A stream is open: everything is asked for again, in order.
    pub fn connected(&mut self, stream: usize, now: Duration) {
        let opened = self.opened.entry(stream).or_default();
        *opened = (opened.0 + 1, true);
        self.introduced.remove(&stream);
        for kind in self.types_of(stream) {
            let delta = self.mode == Mode::Delta;
            let Some(state) = self.types.get_mut(&kind) else { continue };
            state.asked = None;
            state.nonce.clear();
            state.unheard = Some(now);
            if delta {
                // Of what was refused this stream says nothing where it is gone: whatever is still there comes again.
                state.refusal = None;
                let mended = std::mem::take(&mut state.refused).into_iter().collect();
                self.tell_mended(kind, mended);
            }
            self.ask(kind, now);
        }
    }

    /// A stream has ended, however it did. What came of it and was not looked at yet comes again.
    pub fn disconnected(&mut self, stream: usize) {
        if let Some(opened) = self.opened.get_mut(&stream) {
            opened.1 = false;
        }
        for kind in self.types_of(stream) {
            if let Some(state) = self.types.get_mut(&kind) {
                state.held = None;
            }
        }
        self.queue.retain(|queued| queued.from.is_none_or(|(from, _)| from != stream));
        self.queued_bytes = self.queue.iter().map(|queued| super::intake::size(&queued.response)).sum();
    }

    pub(super) fn is_open(&self, stream: usize) -> bool {
        self.opened.get(&stream).is_some_and(|(_, open)| *open)
    }

    /// Somebody wants resources by name, whatever refers to them.
    pub fn subscribe(&mut self, kind: ResourceType, names: impl IntoIterator<Item = String>, now: Duration) {
        if let Some(state) = self.types.get_mut(&kind) {
            state.wanted.extend(names);
        }
        self.ask(kind, now);
    }

    /// Nobody wants them any more; what refers to them still does.
    pub fn unsubscribe(&mut self, kind: ResourceType, names: &[String], now: Duration) {
        if let Some(state) = self.types.get_mut(&kind) {
            state.wanted.retain(|name| !names.contains(name));
        }
        self.follow(now);
    }

    /// The names of a type that somebody wants.
    pub(super) fn names(&self, kind: ResourceType) -> BTreeSet<String> {
        let wanted = self.types.get(&kind).map(|state| state.wanted.clone()).unwrap_or_default();
        let from = (kind, String::new());
        let referred = self.references.range(from..).take_while(|((of, _), _)| *of == kind);
        wanted.into_iter().chain(referred.map(|((_, name), _)| name.clone())).collect()
    }

    /// Whether a resource of this name is anybody's.
    pub(super) fn is_wanted(&self, kind: ResourceType, name: &str) -> bool {
        let state = self.types.get(&kind);
        state.is_some_and(|state| state.wildcard || state.wanted.contains(name))
            || self.references.contains_key(&(kind, name.to_owned()))
    }

    /// Subscriptions follow what is referred to: of every type what is wanted now is asked for, and what is not is forgotten.
    pub(super) fn follow(&mut self, now: Duration) {
        // What is forgotten may have referred to something.
        loop {
            let mut forgotten = false;
            for kind in ResourceType::ALL {
                let Some(state) = self.types.get(&kind) else { continue };
                let gone: Vec<String> =
                    state.accepted.keys().filter(|name| !self.is_wanted(kind, name)).cloned().collect();
                if !gone.is_empty() {
                    forgotten = true;
                    self.forget(kind, &gone);
                    self.tell_removed(kind, gone);
                }
            }
            if !forgotten {
                break;
            }
        }
        for kind in ResourceType::ALL {
            self.forget_refused(kind);
            self.ask(kind, now);
        }
    }

    /// What nobody wants any more need not be mended.
    fn forget_refused(&mut self, kind: ResourceType) {
        let Some(state) = self.types.get(&kind) else { return };
        let unwanted = |name: &&String| !is_anonymous(name) && !self.is_wanted(kind, name);
        let unwanted: Vec<String> = state.refused.iter().filter(unwanted).cloned().collect();
        if let Some(state) = self.types.get_mut(&kind) {
            state.refused.retain(|name| !unwanted.contains(name));
        }
        self.tell_mended(kind, unwanted);
    }

    /// Tells the control plane what is wanted of a type, if it does not know.
    pub(super) fn ask(&mut self, kind: ResourceType, now: Duration) {
        let stream = self.stream_of(kind);
        let names = self.names(kind);
        let open = self.is_open(stream);
        let pending = self.is_pending(kind);
        let looked_at = self.outstanding.as_ref().is_some_and(|update| update.kind == kind);
        let Some(state) = self.types.get_mut(&kind) else { return };
        // A control plane that is not there is waited for, too.
        state.late.retain(|name| name.is_empty() || names.contains(name));
        state.awaited.retain(|name, _| name.is_empty() || names.contains(name));
        let new = |name: &String| state.asked.as_ref().is_none_or(|asked| !asked.contains(name));
        let all = (state.wildcard && state.asked.is_none() && state.accepted.is_empty()).then(String::new);
        let missing = names.iter().filter(|name| !state.accepted.contains_key(*name) && new(name)).cloned();
        for name in missing.chain(all).filter(|name| !state.late.contains(name)) {
            state.awaited.entry(name).or_insert(now + self.fetch_timeout);
        }
        if !open {
            return;
        }
        match &state.asked {
            Some(asked) if *asked == names => return,
            // What the application is looking at may be taken, and a stream of delta begins with what is there.
            None if looked_at && self.mode == Mode::Delta => return,
            // The first request without names means all of them.
            None if names.is_empty() && !state.wildcard => return,
            // A state of the world is asked for by the answer to the last response, which says all of it.
            Some(_) if self.mode == Mode::StateOfTheWorld && pending => return,
            _ => {}
        }
        match self.mode {
            Mode::StateOfTheWorld => {
                // It is the answer to the last response, too.
                let held = state.held.take().map(|held| held.error);
                self.request(kind, held);
            }
            Mode::Delta => self.request_delta(kind, &names),
        }
    }

    /// Whether a response of this type has not been answered yet.
    fn is_pending(&self, kind: ResourceType) -> bool {
        let outstanding = self.outstanding.as_ref().is_some_and(|update| update.kind == kind && update.from.is_some());
        outstanding || self.queue.iter().any(|queued| queued.kind == kind && queued.from.is_some())
    }

    /// A request of state of the world: a subscription, and the answer to the last response.
    pub(super) fn request(&mut self, kind: ResourceType, error: Option<Status>) {
        let names = self.names(kind);
        let stream = self.stream_of(kind);
        let node = self.introduce(stream);
        let Some(state) = self.types.get_mut(&kind) else { return };
        let request = DiscoveryRequest {
            version_info: state.version.clone(),
            node,
            resource_names: said(state.wildcard, &names),
            type_url: kind.type_url(),
            response_nonce: state.nonce.clone(),
            error_detail: error,
        };
        state.asked = Some(names);
        self.output.push_back(Output::Send(stream, Request::State(Box::new(request))));
    }

    /// What has changed of a subscription.
    fn request_delta(&mut self, kind: ResourceType, names: &BTreeSet<String>) {
        let stream = self.stream_of(kind);
        let node = self.introduce(stream);
        let Some(state) = self.types.get_mut(&kind) else { return };
        let mut request = DeltaDiscoveryRequest { node, type_url: kind.type_url(), ..DeltaDiscoveryRequest::default() };
        match &state.asked {
            None => {
                request.resource_names_subscribe = said(state.wildcard, names);
                // What was taken away is asked for as if it had never been there: whoever has it says so.
                let known = state.accepted.iter().filter(|(_, resource)| !resource.taken_away);
                request.initial_resource_versions =
                    known.map(|(name, resource)| (name.clone(), resource.version.clone())).collect();
            }
            Some(asked) => {
                request.resource_names_subscribe = names.difference(asked).cloned().collect();
                request.resource_names_unsubscribe = asked.difference(names).cloned().collect();
                if state.wildcard && asked.is_empty() {
                    // Names would otherwise end what no names have begun.
                    request.resource_names_subscribe.insert(0, EVERYTHING.to_owned());
                }
            }
        }
        state.asked = Some(names.clone());
        self.output.push_back(Output::Send(stream, Request::Delta(Box::new(request))));
    }

    /// The answer to a response of delta.
    pub(super) fn answer_delta(&mut self, kind: ResourceType, nonce: String, error: Option<Status>) {
        let stream = self.stream_of(kind);
        let node = self.introduce(stream);
        let request = DeltaDiscoveryRequest {
            node,
            type_url: kind.type_url(),
            response_nonce: nonce,
            error_detail: error,
            ..DeltaDiscoveryRequest::default()
        };
        self.output.push_back(Output::Send(stream, Request::Delta(Box::new(request))));
    }

    /// The node is told once on a stream.
    fn introduce(&mut self, stream: usize) -> Option<crate::xds::messages::Node> {
        self.introduced.insert(stream).then(|| self.node.clone())
    }
}

/// Names as the protocol says them: none is all, unless there are others besides.
fn said(wildcard: bool, names: &BTreeSet<String>) -> Vec<String> {
    let everything = (wildcard && !names.is_empty()).then(|| EVERYTHING.to_owned());
    everything.into_iter().chain(names.iter().cloned()).collect()
}
