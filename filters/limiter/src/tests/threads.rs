//! Four threads and one limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{SECOND, THEN, at, gcra, quota};
use crate::store::{Charge, MemoryStore, Operation, Outcome, Store};
use crate::{Leases, Meter, Table};

/// Shared data that threads can share, as the host has it.
#[cfg(feature = "sdk")]
pub struct Slow<C> {
    values: Mutex<HashMap<String, (Vec<u8>, u32)>>,
    clock: C,
}

#[cfg(feature = "sdk")]
impl<C> Slow<C> {
    pub fn new(clock: C) -> Self {
        Self { values: Mutex::default(), clock }
    }
}

#[cfg(feature = "sdk")]
impl<C: Fn() -> u64> crate::sdk::shared::Data for Slow<C> {
    fn get(&self, name: &str) -> Option<(Vec<u8>, u32)> {
        self.values.lock().unwrap().get(name).cloned()
    }

    fn set(&self, name: &str, value: &[u8], token: u32) -> Result<(), fyke_sdk::abi::Status> {
        let mut values = self.values.lock().unwrap();
        let known = values.get(name).map_or(0, |(_, known)| *known);
        if known != 0 && token != 0 && token != known {
            return Err(fyke_sdk::abi::Status::CAS_MISMATCH);
        }
        values.insert(name.to_owned(), (value.to_vec(), known + 1));
        Ok(())
    }

    fn expire(&self, _name: &str, _milliseconds: u64) {}

    fn now(&self) -> u64 {
        (self.clock)()
    }
}

/// Every thread takes until the clock, which goes on by a step whenever somebody takes, has gone all the way. Returns between which times each was
/// admitted.
fn hammer(store: &(impl Store + Sync), clock: &AtomicU64, meters: &[Meter], end: u64, step: u64) -> Vec<(u64, u64)> {
    let all = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let mut outcome = Outcome::default();
                let mut admitted = Vec::new();
                loop {
                    let over = clock.fetch_add(step, Ordering::SeqCst) >= end;
                    let charge = Charge { key: b"k", meters, cost: 1, lease: 0 };
                    let before = clock.load(Ordering::SeqCst);
                    // Contended: nothing was charged.
                    if store.apply(Operation::Take, &[charge], &mut outcome).is_ok() && outcome.admitted {
                        admitted.push((before, clock.load(Ordering::SeqCst)));
                    } else if over {
                        break;
                    }
                }
                all.lock().unwrap().extend(admitted);
            });
        }
    });
    all.into_inner().unwrap()
}

/// As many as the definition says, within the time that the clock went on beyond its end; and in no window more than one beyond it.
fn check(mut admitted: Vec<(u64, u64)>, rate: u64, burst: u64, taken: u64) {
    let expected = burst + u64::try_from(u128::from(taken) * u128::from(rate) / u128::from(SECOND)).unwrap();
    assert!((admitted.len() as u64).abs_diff(expected) <= 1, "{} of {expected} at {rate}/s", admitted.len());
    admitted.sort_unstable();
    // From the i-th to the j-th there are j - i + 1, of at most burst + rate * time + 1: what depends on i is least where a window is fullest.
    let second = i128::from(SECOND);
    let surplus = |number: i128, time: u64| number * second - i128::from(time) * i128::from(rate);
    let (mut least, mut last) = (i128::MAX, 0);
    for (number, (before, after)) in (0..).zip(admitted) {
        least = least.min(surplus(number, before));
        // Whoever asked later may have been admitted earlier.
        last = last.max(after);
        let over = surplus(number, last) - least - i128::from(burst) * second;
        assert!(over <= 0, "a window has {over} ns of its rate too many at {rate}/s");
    }
}

#[test]
fn four_threads_get_exactly_what_the_definition_says() {
    for rate in [1, 7, 100, 10_000] {
        let clock = AtomicU64::new(THEN);
        let store = MemoryStore::new(Arc::new(Table::new(0)), || at(clock.load(Ordering::SeqCst)));
        // 50,000 a second, for ten seconds.
        let meters = [Meter::Gcra(gcra(&format!("{rate}/s"), rate))];
        let admitted = hammer(&store, &clock, &meters, THEN + 10 * SECOND, 20_000);
        check(admitted, rate, rate, clock.into_inner() - THEN);
    }
}

#[cfg(feature = "sdk")]
#[test]
fn four_threads_on_shared_data_get_exactly_that_too() {
    for rate in [1, 100, 10_000] {
        let clock = AtomicU64::new(THEN);
        let store = crate::SharedStore::over(Slow::new(|| clock.load(Ordering::SeqCst)));
        let meters = [Meter::Gcra(gcra(&format!("{rate}/s"), rate))];
        let admitted = hammer(&store, &clock, &meters, THEN + 2 * SECOND, 20_000);
        check(admitted, rate, rate, clock.into_inner() - THEN);
    }
}

#[test]
fn two_windows_and_a_quota_hold_at_once() {
    let clock = AtomicU64::new(THEN);
    let store = MemoryStore::new(Arc::new(Table::new(0)), || at(clock.load(Ordering::SeqCst)));
    // The quota ends it: 1700000000 is 20 s into its minute.
    let meters = [Meter::Gcra(gcra("1000/s", 1000)), Meter::Gcra(gcra("6000/m", 6000)), quota("7000/m")];
    assert_eq!(hammer(&store, &clock, &meters, THEN + 30 * SECOND, 20_000).len(), 7000);
}

#[test]
fn never_more_at_the_same_time_than_allowed() {
    let store = MemoryStore::new(Arc::new(Table::new(0)), || at(THEN));
    let meters = [Meter::Leases(Leases { limit: 3, expiry: SECOND })];
    let (held, most, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let mut outcome = Outcome::default();
                for _ in 0..5_000 {
                    let charge = Charge { key: b"k", meters: &meters, cost: 1, lease: 0 };
                    store.apply(Operation::Take, &[charge], &mut outcome).unwrap();
                    if !outcome.admitted {
                        refused.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    let lease = outcome.readings[0].lease;
                    most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    held.fetch_sub(1, Ordering::SeqCst);
                    store.apply(Operation::Return, &[Charge { lease, ..charge }], &mut outcome).unwrap();
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    let mut outcome = Outcome::default();
    let charge = Charge { key: b"k", meters: &meters, cost: 3, lease: 0 };
    store.apply(Operation::Take, &[charge], &mut outcome).unwrap();
    assert!(outcome.admitted, "all were given back");
}

/// Two keys in either order, from both ends: nobody waits for ever, and both are charged alike.
#[test]
fn several_keys_are_charged_at_once() {
    let store = MemoryStore::new(Arc::new(Table::new(0)), || at(THEN));
    let keys: Vec<String> = (0..20).map(|key| format!("key {key}")).collect();
    let meters = [quota("100/h")];
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (keys, store, admitted) = (&keys, &store, &admitted);
            threads.spawn(move || {
                let mut outcome = Outcome::default();
                for round in 0..2_000 {
                    let mut charges: Vec<Charge<'_>> = keys
                        .iter()
                        .map(|key| Charge { key: key.as_bytes(), meters: &meters, cost: 1, lease: 0 })
                        .collect();
                    charges.rotate_left((round + thread) % 20);
                    if thread % 2 == 0 {
                        charges.reverse();
                    }
                    store.apply(Operation::Take, &charges, &mut outcome).unwrap();
                    admitted.fetch_add(usize::from(outcome.admitted), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 100);
    assert!(keys.iter().all(|key| {
        let mut outcome = Outcome::default();
        let charge = Charge { key: key.as_bytes(), meters: &meters, cost: 0, lease: 0 };
        store.apply(Operation::Peek, &[charge], &mut outcome).unwrap();
        outcome.readings[0].remaining == 0
    }));
}
