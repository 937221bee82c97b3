//! The contexts of an instance.

use crate::id_map::IdMap;
use crate::types::ContextId;

/// The contexts of an instance, and the root of each.
#[derive(Debug, Default, Clone)]
pub(crate) struct Contexts {
    roots: IdMap<ContextId>,
    last: u32,
}

impl Contexts {
    /// A new id under `root`, or a new root. Ids repeat only after 2^32 contexts, and then never one that is in use.
    pub(crate) fn create(&mut self, root: Option<ContextId>) -> ContextId {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            let id = ContextId(self.last);
            if self.roots.insert(id, root.unwrap_or(id)) {
                return id;
            }
        }
    }

    pub(crate) fn remove(&mut self, id: ContextId) {
        self.roots.remove(id);
    }

    /// Whether there is one that is not a root.
    pub(crate) fn has_streams(&self) -> bool {
        self.roots.iter().any(|(id, root)| id != *root)
    }

    #[inline]
    pub(crate) fn contains(&self, id: ContextId) -> bool {
        self.roots.get(id).is_some()
    }

    /// The root of `id`; of an unknown one, itself.
    pub(crate) fn root(&self, id: ContextId) -> ContextId {
        self.roots.get(id).copied().unwrap_or(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_reused_while_in_use_even_when_the_counter_wraps() {
        let mut contexts = Contexts::default();
        let root = contexts.create(None);
        assert_eq!(root, ContextId(1));
        let stream = contexts.create(Some(root));
        assert_eq!(contexts.root(stream), root);
        assert!(contexts.has_streams());
        contexts.remove(stream);
        assert!(!contexts.contains(stream));
        assert!(!contexts.has_streams());
        assert_eq!(contexts.create(Some(root)), ContextId(3));
        contexts.last = u32::MAX - 1;
        assert_eq!(contexts.create(Some(root)), ContextId(u32::MAX));
        assert_eq!(contexts.create(Some(root)), ContextId(2), "0 is nobody, 1 is in use");
    }
}
