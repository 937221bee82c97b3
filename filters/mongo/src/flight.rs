//! Operations of a connection that wait for their replies, found by the number of their request in constant time.
//!
//! At most so many are kept ([`Flights::insert`]); beyond, the oldest is forgotten. A peer that reuses a number replaces what it had.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use crate::identity::Step;
use crate::limiter::Passage;
use crate::series::Series;

/// An operation that waits.
#[derive(Debug)]
pub struct Flight {
    /// What it is counted under.
    pub series: Rc<Series>,
    /// When it was seen, in nanoseconds of the monotonic clock.
    pub began: u64,
    /// Bytes of the request.
    pub bytes: u32,
    /// The cursor that it asks.
    pub cursor: Option<i64>,
    /// Read preference.
    pub preference: Option<&'static str>,
    /// The beginning of its command, where that is logged.
    pub statement: Option<Rc<[u8]>>,
    /// What it does about who is logged in.
    pub login: Option<Step>,
    /// What limits have let it have, until it is over.
    pub passage: Passage,
}

/// Hashes one number: peers choose it, and spread as they like over a table that is bounded anyway.
#[derive(Debug, Default, Clone, Copy)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_i32(&mut self, number: i32) {
        self.write_u64(u64::from(number.cast_unsigned()));
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write_u64(&mut self, number: u64) {
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

/// A table by number, which forgets its oldest entry when it is full.
#[derive(Debug)]
pub struct Numbered<K, V> {
    entries: HashMap<K, (u32, V), BuildHasherDefault<NumberHasher>>,
    /// In the order in which they came; those that are gone are dropped when they come to the front, or when there are too many.
    order: VecDeque<(K, u32)>,
    next: u32,
}

impl<K, V> Default for Numbered<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), next: 0 }
    }
}

/// Entries that are gone and still in line, at most this many more than there are entries.
const SLACK: usize = 16;

impl<K: Copy + Eq + std::hash::Hash, V> Numbered<K, V> {
    /// Adds one. Returns what had to go: the one with the same number, or the oldest.
    pub fn insert(&mut self, key: K, value: V, most: usize) -> Option<V> {
        let stamp = self.next;
        self.next = self.next.wrapping_add(1);
        let mut gone = self.entries.insert(key, (stamp, value)).map(|(_, old)| old);
        self.order.push_back((key, stamp));
        while self.entries.len() > most.max(1) {
            let Some((oldest, stamp)) = self.order.pop_front() else { break };
            if self.is_current(&oldest, stamp) {
                gone = self.entries.remove(&oldest).map(|(_, old)| old);
            }
        }
        self.tidy();
        gone
    }

    /// Takes one out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let (_, value) = self.entries.remove(&key)?;
        if self.entries.is_empty() {
            self.order.clear();
            // A connection that once had many keeps no room for them.
            self.order.shrink_to(SLACK);
            self.entries.shrink_to(SLACK);
        }
        self.tidy();
        Some(value)
    }

    /// Takes all of them out.
    pub fn drain(&mut self) -> impl Iterator<Item = V> + '_ {
        self.order.clear();
        self.entries.drain().map(|(_, (_, value))| value)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn is_current(&self, key: &K, stamp: u32) -> bool {
        self.entries.get(key).is_some_and(|(current, _)| *current == stamp)
    }

    /// Each entry that is gone is looked at once for each time that as many came: constant on average.
    fn tidy(&mut self) {
        while let Some((key, stamp)) = self.order.front()
            && !self.is_current(key, *stamp)
        {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.entries.len() + SLACK {
            let entries = &self.entries;
            self.order.retain(|(key, stamp)| entries.get(key).is_some_and(|(current, _)| current == stamp));
        }
    }
}

/// The operations of a connection.
pub type Flights = Numbered<i32, Flight>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(i32),
        Remove(i32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(0..12).prop_map(Step::Insert), (0..12).prop_map(Step::Remove)]
    }

    proptest! {
        /// The reference: a list in order, looked through from the front.
        #[test]
        fn it_is_a_list_that_is_found_by_number(steps in prop::collection::vec(step(), 0..300), most in 1_usize..9) {
            let mut table = Numbered::default();
            let mut list: Vec<(i32, usize)> = Vec::new();
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(key) => {
                        let gone = table.insert(key, value, most);
                        let mut expected = list.iter().position(|(known, _)| *known == key).map(|at| list.remove(at).1);
                        list.push((key, value));
                        if list.len() > most {
                            expected = Some(list.remove(0).1);
                        }
                        prop_assert_eq!(gone, expected);
                    }
                    Step::Remove(key) => {
                        let expected = list.iter().position(|(known, _)| *known == key).map(|at| list.remove(at).1);
                        prop_assert_eq!(table.remove(key), expected);
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                prop_assert!(table.order.len() <= 2 * list.len() + SLACK);
            }
            let mut rest: Vec<usize> = table.drain().collect();
            rest.sort_unstable();
            prop_assert_eq!(rest, list.into_iter().map(|(_, value)| value).collect::<Vec<_>>());
        }
    }
}
