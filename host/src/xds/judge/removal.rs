//! What a control plane takes away may be needed by what is written beside. Then it stays, with its endpoints, and goes with the first update
//! after which nothing needs it any more.

use std::time::Instant;

use fyke_envoy::xds::ResourceType;

use super::{Judge, Key, PATIENCE};
use crate::xds::received::Received;

impl Judge {
    /// All that it has sent, without those of these that can go. The others stay.
    pub(super) fn without(&mut self, kind: ResourceType, removed: &[String], until: Instant) -> Received {
        let (base, stays) = self.take_away(self.received.clone(), kind, removed, until);
        for (name, why) in stays {
            let what = format!("{} {name:?} was removed and stays: {why}", kind.kind().noun());
            self.keeper.note_refusal(&self.name, what);
            self.staying.insert((kind, name));
        }
        base
    }

    /// Has those go that nothing needs any more.
    pub(super) fn let_go(&mut self) -> Vec<Key> {
        let kinds: std::collections::BTreeSet<ResourceType> = self.staying.iter().map(|(kind, _)| *kind).collect();
        let mut gone = Vec::new();
        for kind in kinds {
            let names: Vec<String> =
                self.staying.iter().filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect();
            let (next, stay) = self.take_away(self.received.clone(), kind, &names, Instant::now() + PATIENCE);
            if stay.len() == names.len() || self.apply(&next).is_err() {
                continue;
            }
            self.received = next;
            let goes = |name: &String| stay.iter().all(|(stays, _)| stays != name);
            gone.extend(names.into_iter().filter(goes).map(|name| (kind, name)));
        }
        self.staying.retain(|key| !gone.contains(key));
        gone
    }

    /// Tries halves, until it is known which of them can go. Returns what is left, and those that stay, each with the reason.
    fn take_away(
        &self,
        base: Received,
        kind: ResourceType,
        names: &[String],
        until: Instant,
    ) -> (Received, Vec<(String, String)>) {
        if names.is_empty() {
            return (base, Vec::new());
        }
        let next = base.without(kind, names);
        let Some(objection) = self.object(kind, &[], &next) else { return (next, Vec::new()) };
        if names.len() == 1 || Instant::now() >= until {
            return (base, names.iter().map(|name| (name.clone(), objection.why.clone())).collect());
        }
        let (first, second) = names.split_at(names.len() / 2);
        let (base, mut stay) = self.take_away(base, kind, first, until);
        let (base, more) = self.take_away(base, kind, second, until);
        stay.extend(more);
        (base, stay)
    }
}
