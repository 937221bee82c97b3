//! The streams of an instance, by context id.
//!
//! Hosts hand out ids one after the other, and every callback looks its stream up several times: the low bits of an id nearly always
//! find a place of its own in a small ring. Whoever finds that place taken goes to an ordinary map.

use std::collections::HashMap;

use crate::hash::FastHash;

/// Places in the ring; a power of two.
const RING: usize = 64;

/// By context id.
pub(super) struct Streams<T> {
    ring: Vec<Option<(u32, T)>>,
    others: HashMap<u32, T, FastHash>,
}

impl<T> Streams<T> {
    pub const fn new() -> Self {
        Self { ring: Vec::new(), others: HashMap::with_hasher(FastHash::new()) }
    }

    /// Puts a stream in, in place of the one that had its id.
    pub fn insert(&mut self, id: u32, stream: T) {
        if self.ring.is_empty() {
            self.ring.resize_with(RING, || None);
        }
        drop(self.remove(id));
        match self.ring.get_mut(place(id)) {
            Some(free @ None) => *free = Some((id, stream)),
            _ => drop(self.others.insert(id, stream)),
        }
    }

    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.ring.get_mut(place(id)) {
            Some(Some((other, stream))) if *other == id => Some(stream),
            _ if self.others.is_empty() => None,
            _ => self.others.get_mut(&id),
        }
    }

    pub fn remove(&mut self, id: u32) -> Option<T> {
        match self.ring.get_mut(place(id)) {
            Some(place) if place.as_ref().is_some_and(|(other, _)| *other == id) => {
                place.take().map(|(_, stream)| stream)
            }
            _ if self.others.is_empty() => None,
            _ => self.others.remove(&id),
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
        let mut streams = Streams::new();
        let ids = [1, 65, 129, 2, 66];
        for id in ids {
            streams.insert(id, id);
        }
        assert_eq!(streams.len(), 5);
        assert!(ids.iter().all(|id| streams.get_mut(*id).copied() == Some(*id)));
        assert_eq!(streams.remove(1), Some(1));
        assert_eq!(streams.get_mut(1), None);
        assert_eq!(streams.get_mut(65), Some(&mut 65));
        streams.insert(193, 193);
        streams.insert(65, 7);
        assert_eq!((streams.remove(65), streams.remove(65), streams.len()), (Some(7), None, 4));
    }
}
