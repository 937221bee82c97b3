//! A queue that is fair to clients: whoever waits for many connections does not keep those waiting who want one.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996) with equal weights: the first thing that a client waits for belongs to the round that is
//! being served, each further one to the round after. Rounds are served in order, and what belongs to one round in the order in which it came.

use std::collections::{BTreeMap, HashMap};

/// Where something stands in a [`Queue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    round: u64,
    number: u64,
}

/// What clients wait for.
#[derive(Debug)]
pub struct Queue<T> {
    entries: BTreeMap<Place, (u64, T)>,
    /// Those that wait, or have been served in this round.
    clients: HashMap<u64, Waiting>,
    round: u64,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    last: u64,
    count: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), clients: HashMap::new(), round: 0, next: 0 }
    }
}

impl<T> Queue<T> {
    /// Puts something at the end of what `client` waits for.
    pub fn push(&mut self, client: u64, value: T) -> Place {
        let now = self.round;
        let waiting = self
            .clients
            .entry(client)
            .and_modify(|waiting| {
                waiting.last = (waiting.last + 1).max(now);
                waiting.count += 1;
            })
            .or_insert(Waiting { last: now, count: 1 });
        let place = Place { round: waiting.last, number: self.next };
        self.next += 1;
        self.entries.insert(place, (client, value));
        place
    }

    /// Takes something out before its turn, or in it.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let (client, value) = self.entries.remove(&place)?;
        if let Some(waiting) = self.clients.get_mut(&client) {
            waiting.count -= 1;
            if waiting.count == 0 && waiting.last < self.round {
                self.clients.remove(&client);
            }
        }
        Some(value)
    }

    /// Takes out the first that is accepted, whose turn it is.
    pub fn take(&mut self, accepts: impl Fn(Place, &T) -> bool) -> Option<T> {
        let place = self.iter().find(|(place, value)| accepts(*place, value)).map(|(place, _)| place)?;
        if place.round > self.round {
            self.round = place.round;
            self.clients.retain(|_, waiting| waiting.count > 0 || waiting.last >= place.round);
        }
        self.remove(place)
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What stands at a place, if it still does.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&T> {
        self.entries.get(&place).map(|(_, value)| value)
    }

    /// All, first come first.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &T)> {
        self.entries.iter().map(|(place, (_, value))| (*place, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_wants_one_does_not_wait_for_who_wants_many() {
        let mut queue = Queue::default();
        for number in 0..100 {
            queue.push(1, (1, number));
        }
        queue.push(2, (2, 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.take(|_, _| true)).collect();
        assert_eq!(order[..3], [(1, 0), (2, 0), (1, 1)]);
        assert_eq!(order.len(), 101);
    }

    #[test]
    fn who_comes_back_at_once_stands_behind_those_who_wait() {
        let mut queue = Queue::default();
        queue.push(1, "a1");
        queue.push(2, "b1");
        assert_eq!(queue.take(|_, _| true), Some("a1"));
        queue.push(1, "a2");
        assert_eq!(queue.take(|_, _| true), Some("b1"));
        assert_eq!(queue.take(|_, _| true), Some("a2"));
        assert!(queue.entries.is_empty());
        // Whoever was served in an earlier round is not known any more.
        for client in 3..6 {
            queue.push(client, "c");
            queue.push(client, "c");
        }
        while queue.take(|_, _| true).is_some() {}
        assert!(queue.clients.keys().all(|client| *client > 2), "{queue:?}");
    }

    #[test]
    fn those_that_are_not_accepted_keep_their_place() {
        let mut queue = Queue::default();
        let first = queue.push(1, 'x');
        queue.push(2, 'y');
        assert_eq!(queue.take(|_, value| *value == 'y'), Some('y'));
        assert_eq!(queue.get(first), Some(&'x'));
        assert_eq!(queue.remove(first), Some('x'));
        assert_eq!(queue.get(first), None);
        assert_eq!(queue.remove(first), None);
    }

    #[test]
    fn who_always_waits_for_one_does_not_shut_out_whoever_once_waited_for_two() {
        let mut queue = Queue::default();
        queue.push(1, 1);
        queue.push(2, 2);
        queue.push(3, 3);
        queue.push(3, 3);
        let mut served = [0; 4];
        for _ in 0..30 {
            let client = queue.take(|_, _| true).unwrap();
            served[client as usize] += 1;
            queue.push(client, client);
        }
        assert!(served[1..].iter().all(|times| (9..=11).contains(times)), "{served:?}");
    }

    proptest! {
        /// While clients wait all the time, none is served more than once more often than another one.
        #[test]
        fn shares_are_equal(backlog in proptest::collection::vec(1_usize..40, 2..6)) {
            let mut queue = Queue::default();
            for (client, count) in backlog.iter().enumerate() {
                for _ in 0..*count {
                    queue.push(client as u64, client);
                }
            }
            let least = *backlog.iter().min().unwrap();
            let mut served = vec![0_usize; backlog.len()];
            for _ in 0..least * backlog.len() {
                served[queue.take(|_, _| true).unwrap()] += 1;
                let (most, fewest) = (served.iter().max().unwrap(), served.iter().min().unwrap());
                prop_assert!(most - fewest <= 1, "{served:?}");
            }
        }

        /// What is in is there once, whatever is taken and removed.
        #[test]
        fn nothing_is_lost(steps in proptest::collection::vec((0_u8..3, 0_u64..4), 1..200)) {
            let mut queue = Queue::default();
            let mut places = Vec::new();
            let (mut inside, mut next) = (std::collections::BTreeSet::new(), 0_u32);
            for (step, client) in steps {
                match step {
                    0 => {
                        places.push(queue.push(client, next));
                        inside.insert(next);
                        next += 1;
                    }
                    1 => match queue.take(|_, _| true) {
                        Some(value) => prop_assert!(inside.remove(&value)),
                        None => prop_assert!(inside.is_empty()),
                    },
                    _ => {
                        if let Some(value) = places.pop().and_then(|place| queue.remove(place)) {
                            prop_assert!(inside.remove(&value));
                        }
                    }
                }
                prop_assert_eq!(queue.iter().count(), inside.len());
            }
        }
    }
}
