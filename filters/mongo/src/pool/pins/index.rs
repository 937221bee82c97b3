//! Keys by the time of their expiry: which of them to forget first.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// The keys that a table has put into the store.
#[derive(Debug, Default)]
pub(super) struct Index {
    expiry: HashMap<Rc<[u8]>, u64>,
    order: BTreeSet<(u64, Rc<[u8]>)>,
}

impl Index {
    pub fn len(&self) -> usize {
        self.expiry.len()
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.expiry.contains_key(key)
    }

    pub fn set(&mut self, key: Vec<u8>, expires: u64) {
        self.remove(&key);
        let key: Rc<[u8]> = key.into();
        self.order.insert((expires, key.clone()));
        self.expiry.insert(key, expires);
    }

    pub fn remove(&mut self, key: &[u8]) {
        if let Some((key, expires)) = self.expiry.remove_entry(key) {
            self.order.remove(&(expires, key));
        }
    }

    /// The key that expires first.
    pub fn first(&self) -> Option<Vec<u8>> {
        self.order.first().map(|(_, key)| key.to_vec())
    }

    /// The key that expires first, if it has by `now`.
    pub fn first_before(&self, now: u64) -> Option<Vec<u8>> {
        self.order.first().filter(|(expires, _)| *expires <= now).map(|(_, key)| key.to_vec())
    }
}
