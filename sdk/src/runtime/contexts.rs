//! What an instance knows of contexts, by their id: of its streams, or of its plugin contexts.
//!
//! Hosts hand out ids one after the other, and every callback looks its context up, some several times: the low bits of an id nearly
//! always find a place of its own in a small ring. Whoever finds that place taken goes to an ordinary map.

use std::collections::HashMap;

use crate::hash::FastHash;

/// Places in the ring; a power of two.
const RING: usize = 64;

/// By context id.
pub(super) struct Contexts<T> {
    ring: Vec<Option<(u32, T)>>,
    /// Boxed: when the table of ten thousand connections grows, all of it is moved in one call, whose time is limited.
    others: HashMap<u32, Box<T>, FastHash>,
}

impl<T> Contexts<T> {
    pub const fn new() -> Self {
        Self { ring: Vec::new(), others: HashMap::with_hasher(FastHash::new()) }
    }

    /// Puts a value in, and returns the one that had its id: what is dropped may be the author's, and look here again.
    #[must_use]
    pub fn insert(&mut self, id: u32, value: T) -> Option<T> {
        // No longer than it must be: most instances have one plugin context.
        if self.ring.len() <= place(id) {
            self.ring.resize_with(place(id) + 1, || None);
        }
        let old = self.remove(id);
        match self.ring.get_mut(place(id)) {
            Some(free @ None) => *free = Some((id, value)),
            _ => drop(self.others.insert(id, Box::new(value))),
        }
        old
    }

    #[inline]
    pub fn get(&self, id: u32) -> Option<&T> {
        match self.ring.get(place(id)) {
            Some(Some((other, value))) if *other == id => Some(value),
            _ if self.others.is_empty() => None,
            _ => self.others.get(&id).map(|value| &**value),
        }
    }

    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.ring.get_mut(place(id)) {
            Some(Some((other, value))) if *other == id => Some(value),
            _ if self.others.is_empty() => None,
            _ => self.others.get_mut(&id).map(|value| &mut **value),
        }
    }

    pub fn remove(&mut self, id: u32) -> Option<T> {
        match self.ring.get_mut(place(id)) {
            Some(place) if place.as_ref().is_some_and(|(other, _)| *other == id) => {
                place.take().map(|(_, value)| value)
            }
            _ if self.others.is_empty() => None,
            _ => self.others.remove(&id).map(|value| *value),
        }
    }

    pub fn len(&self) -> usize {
        self.ring.iter().flatten().count() + self.others.len()
    }
}

fn place(id: u32) -> usize {
    id as usize & (RING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_share_a_place_are_kept_apart() {
        let mut contexts = Contexts::new();
        let ids = [1, 65, 129, 2, 66];
        for id in ids {
            assert_eq!(contexts.insert(id, id), None);
        }
        assert_eq!(contexts.len(), 5);
        assert!(ids.iter().all(|id| contexts.get(*id) == Some(id) && contexts.get_mut(*id).copied() == Some(*id)));
        assert_eq!(contexts.remove(1), Some(1));
        assert_eq!(contexts.get(1), None);
        assert_eq!(contexts.get_mut(1), None);
        assert_eq!(contexts.get_mut(65), Some(&mut 65));
        assert_eq!(contexts.insert(193, 193), None);
        assert_eq!(contexts.insert(65, 7), Some(65));
        assert_eq!((contexts.remove(65), contexts.remove(65), contexts.len()), (Some(7), None, 4));
    }
}
