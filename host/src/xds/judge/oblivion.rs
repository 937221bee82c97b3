//! A control plane that is connected to again and names nothing of all that it has sent has lost its memory, rather than meant it: a fleet must
//! not go dark with it. What it had sent stays until it says what there is. Whoever means it says so over a connection that stands.

use fyke_envoy::xds::{ResourceType, Update, Verdict};

use super::Judge;

/// Types of which everything may be gone at once; the others are there for as long as these refer to them.
pub(super) const WHOLE: [ResourceType; 2] = [ResourceType::Listener, ResourceType::Cluster];

impl Judge {
    /// There is a new connection to it.
    pub fn connected(&mut self) {
        self.restored();
        self.unheard = WHOLE.into();
    }

    /// The verdict on an update that takes everything away without being believed.
    pub(super) fn disbelieve(&mut self, update: &Update, said: bool) -> Option<Verdict> {
        let kind = update.kind;
        let first = said && self.unheard.remove(&kind);
        let names = self.received.names(kind);
        let everything = !names.is_empty() && names.iter().all(|name| update.removed.contains(name));
        if !first || !everything || !update.added.is_empty() {
            return None;
        }
        let what = format!(
            "it names no {} any more since it was connected to again: those that it had sent stay",
            kind.kind().noun()
        );
        self.keeper.note_refusal(&self.name, what);
        self.forgotten.extend(names.into_iter().map(|name| (kind, name)));
        self.status.forgets(&self.forgotten);
        Some(Verdict { stays: update.removed.clone(), ..Verdict::default() })
    }

    /// It says what there is of a type: what it had forgotten and does not name is gone. Returns the names of those.
    pub(super) fn remembers(&mut self, update: &mut Update) -> Vec<String> {
        let kind = update.kind;
        let (of, others) = std::mem::take(&mut self.forgotten).into_iter().partition(|(of, _)| *of == kind);
        self.forgotten = others;
        self.status.forgets(&self.forgotten);
        let mut gone: Vec<String> = std::collections::BTreeSet::into_iter(of).map(|(_, name)| name).collect();
        gone.retain(|name| update.added.iter().all(|one| one.name != *name));
        for name in &gone {
            if !update.removed.contains(name) {
                update.removed.push(name.clone());
            }
        }
        gone
    }
}
