//! The contexts of an instance.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use crate::types::ContextId;

/// A hasher for context ids: they are handed out in sequence, by us, so one multiplication is enough.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The contexts of an instance, and the root of each.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    roots: HashMap<ContextId, ContextId, BuildHasherDefault<IdHasher>>,
    last: u32,
}

impl Contexts {
    /// A new id under `root`, or a new root. Ids repeat only after 2^32 contexts, and then never one that is in use.
    pub(crate) fn create(&mut self, root: Option<ContextId>) -> ContextId {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            let id = ContextId(self.last);
            if let Entry::Vacant(place) = self.roots.entry(id) {
                place.insert(root.unwrap_or(id));
                return id;
            }
        }
    }

    pub(crate) fn remove(&mut self, id: ContextId) {
        self.roots.remove(&id);
    }

    #[inline]
    pub(crate) fn contains(&self, id: ContextId) -> bool {
        self.roots.contains_key(&id)
    }

    /// The root of `id`; of an unknown one, itself.
    pub(crate) fn root(&self, id: ContextId) -> ContextId {
        self.roots.get(&id).copied().unwrap_or(id)
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
        contexts.remove(stream);
        assert!(!contexts.contains(stream));
        assert_eq!(contexts.create(Some(root)), ContextId(3));
        contexts.last = u32::MAX - 1;
        assert_eq!(contexts.create(Some(root)), ContextId(u32::MAX));
        assert_eq!(contexts.create(Some(root)), ContextId(2), "0 is nobody, 1 is in use");
    }
}
