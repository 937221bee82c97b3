//! Which endpoint of a cluster has which keys, as far as servers have said.
//!
//! A server of Redis Cluster says where a slot is when it is asked for one that it does not have (`MOVED`). Neighbours are mostly on the same server, so of a slot that nobody has asked for the nearest
//! one below is believed: few are remembered, and a wrong guess costs a redirection. Without such a cluster nothing is known, and nothing is looked up.
//!
//! A server that takes no writes says so, too (`READONLY`), but not who does. Then the other endpoints are tried, and the one that takes them is remembered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::abi;

/// Slots that are remembered. Of more there is no order that guesses could follow.
const MOST: usize = 1024;

/// Nobody looks for a server that takes writes again so soon after there was none, in nanoseconds.
const PAUSE: u64 = 1_000_000_000;

/// What is known.
#[derive(Debug, Default)]
pub struct Places {
    slots: RefCell<BTreeMap<u16, Rc<str>>>,
    primary: RefCell<Option<Rc<str>>>,
    /// Nobody looks for a primary before, by the monotonic clock.
    pause: Cell<u64>,
    /// How many could not be reached when one was looked for.
    passed_over: Cell<usize>,
}

impl Places {
    /// Whether the slots of keys matter.
    pub fn has_slots(&self) -> bool {
        !self.slots.borrow().is_empty()
    }

    /// Where a command belongs whose first key has this slot. `None`: nobody knows.
    pub fn find(&self, slot: Option<u16>) -> Option<Rc<str>> {
        let slots = self.slots.borrow();
        if slots.is_empty() {
            return self.primary.borrow().clone();
        }
        let slot = slot?;
        let below = slots.range(..=slot).next_back();
        below.or_else(|| slots.iter().next_back()).map(|(_, endpoint)| Rc::clone(endpoint))
    }

    /// A server has said where a slot is.
    pub fn learn(&self, slot: u16, endpoint: &Rc<str>) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() >= MOST && !slots.contains_key(&slot) {
            slots.clear();
        }
        slots.insert(slot, Rc::clone(endpoint));
    }

    /// This one takes writes.
    pub fn prefer(&self, endpoint: &Rc<str>) {
        self.primary.replace(Some(Rc::clone(endpoint)));
    }

    /// Nobody takes them.
    pub fn give_up(&self) {
        self.primary.replace(None);
        self.pause.set(abi::monotonic().saturating_add(PAUSE));
    }

    /// One that may take them cannot be reached: the next time another one is asked first, as there may be no time for both.
    pub fn pass_over(&self) {
        self.passed_over.set(self.passed_over.get().wrapping_add(1));
    }

    /// How often that was.
    pub fn passed_over(&self) -> usize {
        self.passed_over.get()
    }

    /// Whether it is worth looking for one that does.
    pub fn may_look(&self) -> bool {
        self.pause.get() <= abi::monotonic()
    }

    /// It cannot be reached: others may know where its keys are now.
    pub fn forget(&self, endpoint: &str) {
        self.slots.borrow_mut().retain(|_, known| **known != *endpoint);
        let mut primary = self.primary.borrow_mut();
        if primary.as_deref() == Some(endpoint) {
            *primary = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(places: &Places, slot: u16) -> Option<String> {
        places.find(Some(slot)).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn neighbours_are_believed_to_be_in_the_same_place() {
        let (places, one, other) = (Places::default(), Rc::from("1"), Rc::from("2"));
        assert_eq!(found(&places, 7), None);
        places.learn(100, &one);
        places.learn(9000, &other);
        for (slot, endpoint) in [(100, "1"), (8999, "1"), (9000, "2"), (16383, "2"), (3, "2")] {
            assert_eq!(found(&places, slot).as_deref(), Some(endpoint), "{slot}");
        }
        // A command without a key goes anywhere.
        assert_eq!(places.find(None), None);
        places.learn(150, &other);
        assert_eq!((found(&places, 149).as_deref(), found(&places, 150).as_deref()), (Some("1"), Some("2")));
        places.forget("2");
        assert_eq!(found(&places, 9000).as_deref(), Some("1"));
        places.forget("1");
        assert!(!places.has_slots());
    }

    #[test]
    fn its_memory_is_bounded() {
        let (places, one) = (Places::default(), Rc::from("1"));
        for slot in 0..16384 {
            places.learn(slot, &one);
            assert!(places.slots.borrow().len() <= MOST);
        }
        assert_eq!(found(&places, 16383).as_deref(), Some("1"));
    }
}
