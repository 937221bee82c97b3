//! A control plane whose first words on a new stream take away everything has lost its memory, rather than meant it: a fleet must not go dark with
//! it. What it had sent stays until it names something, and what it had forgotten and does not name then goes: at once where it has said all that
//! there is, else when it has had time to. Whoever means it takes the last one away over a stream that stands.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use fyke_envoy::xds::{ResourceType, Update, Verdict};

use super::Judge;
use crate::xds::received::Key;

/// Types of which everything may be gone at once; the others are there for as long as these refer to them.
pub(super) const WHOLE: [ResourceType; 2] = [ResourceType::Listener, ResourceType::Cluster];

/// What was forgotten.
#[derive(Debug, Default)]
pub(super) struct Oblivion {
    forgotten: BTreeSet<Key>,
    /// Types of which it has begun to name something again, and since when.
    naming: Vec<(ResourceType, Instant)>,
}

impl Oblivion {
    fn of(&self, kind: ResourceType) -> BTreeSet<&String> {
        self.forgotten.iter().filter(|(of, _)| *of == kind).map(|(_, name)| name).collect()
    }

    fn names_again(&self, kind: ResourceType) -> bool {
        self.naming.iter().any(|(of, _)| *of == kind)
    }

    /// Adds to what is removed what is gone now. Returns the names of those.
    fn remembers(&mut self, update: &mut Update, patience: Duration) -> Vec<String> {
        let kind = update.kind;
        let spoken = update.added.iter().map(|one| &one.name).chain(&update.named).chain(&update.removed);
        for name in spoken {
            self.forgotten.remove(&(kind, name.clone()));
        }
        let rest: Vec<String> = self.of(kind).into_iter().cloned().collect();
        if rest.is_empty() {
            self.naming.retain(|(of, _)| *of != kind);
            return rest;
        }
        if update.added.is_empty() && update.named.is_empty() {
            return Vec::new();
        }
        if !self.names_again(kind) {
            self.naming.push((kind, Instant::now()));
        }
        let has_had_time = self.naming.iter().any(|(of, since)| *of == kind && since.elapsed() >= patience);
        if !update.complete && !has_had_time {
            return Vec::new();
        }
        self.naming.retain(|(of, _)| *of != kind);
        self.forgotten.retain(|(of, _)| *of != kind);
        update.removed.extend(rest.iter().cloned());
        rest
    }
}

impl Judge {
    /// The verdict on an update that takes everything away without being believed.
    pub(super) fn disbelieve(&mut self, update: &Update, said: bool) -> Option<Verdict> {
        let kind = update.kind;
        let nothing = update.added.is_empty() && update.named.is_empty();
        if !said || !nothing || update.removed.is_empty() || !WHOLE.contains(&kind) {
            return None;
        }
        let forgotten = self.oblivion.of(kind);
        let goes_on = !forgotten.is_empty() && !self.oblivion.names_again(kind);
        let removed: BTreeSet<&String> = update.removed.iter().collect();
        let known = self.received.names(kind).into_iter();
        // What it has taken away before it need not take away again.
        let known: Vec<String> =
            known.filter(|name| !forgotten.contains(name) && !self.staying.contains(&(kind, name.clone()))).collect();
        let everything = known.iter().all(|name| removed.contains(name));
        if !everything || !(goes_on || update.first && !known.is_empty()) {
            return None;
        }
        if !known.is_empty() {
            let noun = kind.kind().noun();
            let what =
                format!("the first that it says on a new stream takes away every {noun}: those that it had sent stay");
            self.keeper.note_refusal(&self.name, what);
        }
        self.oblivion.forgotten.extend(known.into_iter().map(|name| (kind, name)));
        self.status.forgets(&self.oblivion.forgotten);
        Some(Verdict { stays: update.removed.clone(), ..Verdict::default() })
    }

    /// It says what there is of a type: what it had forgotten and does not name may be gone. Returns the names of those.
    pub(super) fn remembers(&mut self, update: &mut Update) -> Vec<String> {
        if self.oblivion.forgotten.is_empty() {
            return Vec::new();
        }
        let gone = self.oblivion.remembers(update, self.patience);
        self.status.forgets(&self.oblivion.forgotten);
        gone
    }
}

#[cfg(test)]
mod tests {
    use fyke_envoy::xds::Resource;
    use serde_json::Value;

    use super::*;

    fn update(added: &[&str], complete: bool) -> Update {
        let resource = |name: &&str| Resource { name: (*name).to_owned(), version: String::new(), value: Value::Null };
        Update { added: added.iter().map(resource).collect(), complete, ..Update::of(ResourceType::Cluster) }
    }

    fn forgotten() -> Oblivion {
        let forgotten = ["a", "b", "c"].map(|name| (ResourceType::Cluster, name.to_owned())).into();
        Oblivion { forgotten, naming: Vec::new() }
    }

    #[test]
    fn who_says_all_that_there_is_takes_the_rest_away() {
        let mut oblivion = forgotten();
        let mut all = update(&["a", "d"], true);
        assert_eq!(oblivion.remembers(&mut all, Duration::MAX), ["b", "c"]);
        assert_eq!(all.removed, ["b", "c"]);
        assert!(oblivion.forgotten.is_empty() && oblivion.naming.is_empty());
    }

    #[test]
    fn who_says_one_after_the_other_has_time() {
        let mut oblivion = forgotten();
        assert!(oblivion.remembers(&mut update(&["a"], false), Duration::MAX).is_empty());
        assert!(oblivion.names_again(ResourceType::Cluster));
        // What cannot be read is named all the same.
        let mut unreadable = update(&[], false);
        unreadable.named = vec!["b".to_owned()];
        assert!(oblivion.remembers(&mut unreadable, Duration::MAX).is_empty());
        assert_eq!(oblivion.of(ResourceType::Cluster).len(), 1);
        assert!(oblivion.remembers(&mut update(&[], false), Duration::ZERO).is_empty(), "nothing is named");
        assert_eq!(oblivion.remembers(&mut update(&["d"], false), Duration::ZERO), ["c"]);
    }
}
