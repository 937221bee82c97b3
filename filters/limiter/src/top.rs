//! The busiest keys, in bounded memory: the space-saving sketch (Metwally, Agrawal, El Abbadi: Efficient computation of frequent and top-k
//! elements in data streams, 2005).

use std::collections::HashMap;

/// Counts keys; of those beyond its capacity the rarest gives its place to whoever comes, with its count.
#[derive(Debug, Clone)]
pub struct TopKeys {
    capacity: usize,
    places: HashMap<Box<[u8]>, usize>,
    counters: Vec<Top>,
}

/// A key, and how often it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// The key.
    pub key: Box<[u8]>,
    /// At most so often.
    pub count: u64,
    /// By how much that may be too much.
    pub error: u64,
}

impl TopKeys {
    /// Room for so many keys, at least one. Every key that makes up more than one part in `capacity` of all is among them.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), places: HashMap::new(), counters: Vec::new() }
    }

    /// Counts a key.
    pub fn add(&mut self, key: &[u8], count: u64) {
        if let Some(counter) = self.places.get(key).and_then(|at| self.counters.get_mut(*at)) {
            counter.count = counter.count.saturating_add(count);
            return;
        }
        if self.counters.len() < self.capacity {
            self.places.insert(key.into(), self.counters.len());
            self.counters.push(Top { key: key.into(), count, error: 0 });
            return;
        }
        // Capacities are small: looking at all of them costs less than keeping them in order.
        let rarest = self.counters.iter().enumerate().min_by_key(|(_, counter)| counter.count).map(|(at, _)| at);
        let Some((at, counter)) = rarest.and_then(|at| Some((at, self.counters.get_mut(at)?))) else { return };
        self.places.remove(&counter.key);
        *counter = Top { key: key.into(), count: counter.count.saturating_add(count), error: counter.count };
        self.places.insert(key.into(), at);
    }

    /// The busiest, first the one that came most often.
    #[must_use]
    pub fn top(&self, most: usize) -> Vec<Top> {
        let mut counters = self.counters.clone();
        counters.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.key.cmp(&other.key)));
        counters.truncate(most);
        counters
    }

    /// Halves all counts, so that what was busy long ago is forgotten.
    pub fn age(&mut self) {
        for counter in &mut self.counters {
            counter.count /= 2;
            counter.error /= 2;
        }
    }
}
