//! From a verdict to an acknowledgement.

use std::time::Duration;

use super::{Accepted, Held, Machine, Mode, Output, Outstanding, Refusal, ResourceType, Verdict};
use crate::xds::messages::{REFUSED, Status};

/// The longest reason that a control plane is told.
const LONGEST: usize = 16 << 10;

impl Machine {
    /// What the application says of an update. One that is not waited for any more means nothing.
    pub fn judged(&mut self, id: u64, verdict: Verdict, now: Duration) {
        let Some(mut outstanding) = self.outstanding.take_if(|outstanding| outstanding.id == id) else { return };
        outstanding.removed.retain(|name| !verdict.stays.contains(name));
        if let Some(state) = self.types.get_mut(&outstanding.kind) {
            for name in &verdict.stays {
                if let Some(stays) = state.accepted.get_mut(name) {
                    stays.taken_away = true;
                }
            }
        }
        for (kind, name) in verdict.gone {
            self.forget(kind, &[name]);
        }
        for (name, reason) in verdict.refused {
            if outstanding.candidates.remove(&name).is_some() {
                outstanding.refused.push((name, reason));
            }
        }
        self.conclude(outstanding, now);
        self.advance(now);
    }

    /// Takes what is good of a response, and answers it.
    pub(super) fn conclude(&mut self, outstanding: Outstanding, now: Duration) {
        let Outstanding { kind, from, nonce, version, candidates, removed, refused, mended, .. } = outstanding;
        self.note_refused(kind, &refused, mended);
        self.forget(kind, &removed);
        for (name, accepted) in candidates {
            self.accept(kind, name, accepted);
        }
        let error = (!refused.is_empty()).then(|| Status { code: REFUSED, message: told(kind, &refused) });
        let wait = self.note_refusal(kind, from, version, refused);
        let stream = self.stream_of(kind);
        let current = self.opened.get(&stream).is_some_and(|(opened, open)| *open && from == Some((stream, *opened)));
        if current {
            match (wait, error) {
                (Some(wait), Some(error)) => {
                    let held = Held { until: now.saturating_add(wait), nonce, error };
                    self.types.entry(kind).or_default().held = Some(held);
                }
                (_, error) => self.answer(kind, nonce, error),
            }
        }
        self.follow(now);
    }

    /// Which names are refused now, and which not any more.
    fn note_refused(&mut self, kind: ResourceType, refused: &[(String, String)], mut mended: Vec<String>) {
        let Some(state) = self.types.get_mut(&kind) else { return };
        state.refused.extend(refused.iter().map(|(name, _)| name.clone()));
        mended.retain(|name| !state.refused.contains(name));
        self.tell_mended(kind, mended);
    }

    pub(super) fn tell_mended(&mut self, kind: ResourceType, mended: Vec<String>) {
        if !mended.is_empty() {
            self.output.push_back(Output::Mended(kind, mended));
        }
    }

    /// Tells what is refused, unless it was told. Returns how long the answer is to wait: the same was refused on this stream before.
    fn note_refusal(
        &mut self,
        kind: ResourceType,
        from: Option<(usize, u64)>,
        version: String,
        refused: Vec<(String, String)>,
    ) -> Option<Duration> {
        let state = self.types.get_mut(&kind)?;
        if refused.is_empty() {
            state.refusal = None;
            // What is refused in part leaves the version as it was.
            state.version = version;
            return None;
        }
        if let Some(before) = state.refusal.as_mut().filter(|one| one.version == version && one.refused == refused) {
            if before.from == from {
                // All that happens is this control plane's doing, so there is nobody to whom chance would do good.
                return Some(before.backoff.next(1.0));
            }
            before.from = from;
            before.backoff.reset();
            return None;
        }
        self.output.push_back(Output::Refused(kind, refused.clone()));
        state.refusal = Some(Refusal { from, version, refused, backoff: self.backoff.clone() });
        None
    }

    /// Answers a response. Of a state of the world it is always the last one that was looked at; later ones wait.
    pub(super) fn answer(&mut self, kind: ResourceType, nonce: String, error: Option<Status>) {
        match self.mode {
            Mode::StateOfTheWorld => self.request(kind, error),
            Mode::Delta => self.answer_delta(kind, nonce, error),
        }
    }

    fn accept(&mut self, kind: ResourceType, name: String, accepted: Accepted) {
        for reference in &accepted.references {
            *self.references.entry(reference.clone()).or_default() += 1;
        }
        self.changed = true;
        let Some(state) = self.types.get_mut(&kind) else { return };
        if let Some(before) = state.accepted.insert(name, accepted) {
            self.release(&before);
        }
    }

    /// Resources that are not there any more.
    pub(super) fn forget(&mut self, kind: ResourceType, names: &[String]) {
        for name in names {
            let gone = self.types.get_mut(&kind).and_then(|state| state.accepted.remove(name));
            if let Some(gone) = gone {
                self.changed = true;
                self.release(&gone);
            }
        }
    }

    fn release(&mut self, resource: &Accepted) {
        for reference in &resource.references {
            if let Some(count) = self.references.get_mut(reference) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.references.remove(reference);
                }
            }
        }
    }
}

/// Each bad resource by name, with its reason.
fn told(kind: ResourceType, refused: &[(String, String)]) -> String {
    let mut text = String::new();
    for (index, (name, reason)) in refused.iter().enumerate() {
        let line = format!("{} {name:?}: {reason}", kind.kind().noun());
        if text.len() + line.len() > LONGEST {
            text.push_str(&format!("; and {} more", refused.len() - index));
            break;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&line);
    }
    text
}
