//! A map whose keys are context ids.
//!
//! Ids are handed out one after the other and most are gone soon, so the low bits of an id nearly always find a place of its own in a
//! small ring: a look-up is one comparison. What lives so long that the ring comes around meets its successor there; the
//! newcomer then goes to an ordinary map.

use std::collections::HashMap;

use crate::types::ContextId;

/// Places in the ring; a power of two.
const RING: usize = 256;

/// A map from context ids.
#[derive(Debug, Clone)]
pub struct IdMap<T> {
    ring: Vec<Option<(ContextId, T)>>,
    /// Those whose place was taken when they came.
    others: HashMap<ContextId, T>,
}

impl<T> Default for IdMap<T> {
    fn default() -> Self {
        IdMap { ring: std::iter::repeat_with(|| None).take(RING).collect(), others: HashMap::new() }
    }
}

impl<T> IdMap<T> {
    /// Puts a value under an id. `false`, and nothing is changed, when the id is there already.
    #[inline]
    pub fn insert(&mut self, id: ContextId, value: T) -> bool {
        let at = place(id);
        let Some(place) = self.ring.get_mut(at) else { return false };
        match place {
            None if self.others.is_empty() || !self.others.contains_key(&id) => {
                *place = Some((id, value));
                true
            }
            Some((other, _)) if *other != id && !self.others.contains_key(&id) => {
                self.others.insert(id, value);
                true
            }
            _ => false,
        }
    }

    /// The value of an id.
    #[inline]
    #[must_use]
    pub fn get(&self, id: ContextId) -> Option<&T> {
        match self.ring.get(place(id)) {
            Some(Some((other, value))) if *other == id => Some(value),
            _ if self.others.is_empty() => None,
            _ => self.others.get(&id),
        }
    }

    /// Takes a value out.
    #[inline]
    pub fn remove(&mut self, id: ContextId) -> Option<T> {
        match self.ring.get_mut(place(id)) {
            Some(place) if place.as_ref().is_some_and(|(other, _)| *other == id) => {
                place.take().map(|(_, value)| value)
            }
            _ if self.others.is_empty() => None,
            _ => self.others.remove(&id),
        }
    }

    /// Everything, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (ContextId, &T)> {
        let others = self.others.iter().map(|(id, value)| (*id, value));
        self.ring.iter().flatten().map(|(id, value)| (*id, value)).chain(others)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    /// Takes everything out, in no order.
    pub fn drain(&mut self) -> impl Iterator<Item = (ContextId, T)> {
        self.ring.iter_mut().filter_map(Option::take).chain(self.others.drain())
    }
}

fn place(id: ContextId) -> usize {
    id.0 as usize & (RING - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u32),
        Remove(u32),
        Drain,
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few places, several rounds of the ring.
        let id = (0..4_u32, 0..4_u32).prop_map(|(low, round)| low + round * 256);
        prop_oneof![
            6 => id.clone().prop_map(Step::Insert),
            4 => id.prop_map(Step::Remove),
            1 => Just(Step::Drain),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(step(), 0..200)) {
            let mut model = HashMap::new();
            let mut map = IdMap::default();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(id) => {
                        let new = !model.contains_key(&id);
                        prop_assert_eq!(map.insert(ContextId(id), number), new);
                        model.entry(id).or_insert(number);
                    }
                    Step::Remove(id) => prop_assert_eq!(map.remove(ContextId(id)), model.remove(&id)),
                    Step::Drain => {
                        let all: HashMap<_, _> = map.drain().map(|(id, value)| (id.0, value)).collect();
                        prop_assert_eq!(all, std::mem::take(&mut model));
                    }
                }
                for id in (0..4).flat_map(|low| (0..4).map(move |round| low + round * 256)) {
                    prop_assert_eq!(map.get(ContextId(id)), model.get(&id));
                }
            }
        }
    }
}
