//! A store within one process and thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::Pins;

/// A map behind a shared handle: clones see the same pins, as the workers of a process do. Tables bound it.
#[derive(Debug, Clone, Default)]
pub struct MemoryPins {
    pins: Rc<RefCell<HashMap<Vec<u8>, Vec<u8>>>>,
}

impl MemoryPins {
    /// How many pins there are.
    pub fn len(&self) -> usize {
        self.pins.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Pins for MemoryPins {
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.pins.borrow().get(key).cloned()
    }

    fn put(&mut self, key: &[u8], value: &[u8], _expires: u64) {
        self.pins.borrow_mut().insert(key.to_vec(), value.to_vec());
    }

    fn remove(&mut self, key: &[u8]) {
        self.pins.borrow_mut().remove(key);
    }
}
