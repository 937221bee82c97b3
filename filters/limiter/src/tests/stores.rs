//! What holds of every store: in memory, over a wire, and in shared data.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;

use super::{SECOND, THEN, at, gcra, quota};
use crate::store::{Charge, MemoryStore, Operation, Outcome, Store, StoreError};
use crate::wire;
use crate::{Decision, Leases, Meter, Table};

/// A host that is asked by bytes.
struct Wired<'a> {
    table: Table,
    now: &'a Cell<u64>,
}

impl Store for Wired<'_> {
    fn apply(&self, operation: Operation, charges: &[Charge<'_>], outcome: &mut Outcome) -> Result<(), StoreError> {
        let (mut arguments, mut out) = (Vec::new(), Vec::new());
        wire::encode(operation, charges, &mut arguments);
        wire::answer(&self.table, &arguments, || at(self.now.get()), &mut out).map_err(|_| StoreError::Malformed)?;
        wire::read_outcome(&out, outcome).map_err(|_| StoreError::Malformed)
    }
}

fn each(check: impl Fn(&dyn Store, &Cell<u64>)) {
    let now = Cell::new(THEN);
    let clock = || at(now.get());
    check(&MemoryStore::new(Arc::new(Table::new(0)), clock), &now);
    now.set(THEN);
    check(&Wired { table: Table::new(0), now: &now }, &now);
    #[cfg(feature = "sdk")]
    {
        now.set(THEN);
        check(&crate::SharedStore::over(super::threads::Slow::new(|| now.get())), &now);
    }
}

fn charge<'a>(key: &'a [u8], meters: &'a [Meter], cost: u64) -> Charge<'a> {
    Charge { key, meters, cost, lease: 0 }
}

fn apply(store: &dyn Store, operation: Operation, charges: &[Charge<'_>]) -> Outcome {
    let mut outcome = Outcome::default();
    store.apply(operation, charges, &mut outcome).unwrap();
    outcome
}

#[test]
fn where_one_refuses_none_is_charged() {
    each(|store, _| {
        let wide = [Meter::Gcra(gcra("100/s", 100)), quota("50/h")];
        let narrow = [Meter::Leases(Leases { limit: 1, expiry: SECOND })];
        let both = [charge(b"wide", &wide, 2), charge(b"narrow", &narrow, 1)];
        assert!(apply(store, Operation::Take, &both).admitted);
        for charges in [both, [both[1], both[0]]] {
            let refused = apply(store, Operation::Take, &charges);
            assert!(!refused.admitted);
            assert_eq!(refused.readings.iter().filter(|reading| !reading.passes).count(), 1);
        }
        let seen = apply(store, Operation::Peek, &[charge(b"wide", &wide, 0)]);
        assert_eq!(seen.readings.iter().map(|reading| reading.remaining).collect::<Vec<_>>(), [98, 48]);
        // Of two meters of one key, too.
        assert!(!apply(store, Operation::Take, &[charge(b"wide", &wide, 49)]).admitted);
        assert_eq!(apply(store, Operation::Peek, &[charge(b"wide", &wide, 0)]).readings, seen.readings);
    });
}

#[test]
fn peeking_takes_nothing_and_charging_takes_anyway() {
    each(|store, now| {
        let meters = [Meter::Gcra(gcra("10/s", 10).with_debt(100))];
        for _ in 0..3 {
            let seen = apply(store, Operation::Peek, &[charge(b"k", &meters, 10)]);
            assert_eq!((seen.admitted, seen.readings[0].remaining), (true, 0));
        }
        let charged = apply(store, Operation::Charge, &[charge(b"k", &meters, 30)]);
        assert!(charged.admitted && charged.readings.is_empty());
        now.set(THEN + 2 * SECOND);
        assert!(!apply(store, Operation::Take, &[charge(b"k", &meters, 1)]).admitted);
        now.set(THEN + 2 * SECOND + SECOND / 10);
        assert!(apply(store, Operation::Take, &[charge(b"k", &meters, 1)]).admitted);
    });
}

#[test]
fn leases_are_given_back_by_what_was_said() {
    each(|store, _| {
        let meters = [Meter::Leases(Leases { limit: 1, expiry: SECOND }), quota("10/h")];
        let taken = apply(store, Operation::Take, &[charge(b"k", &meters, 1)]);
        let lease = taken.readings[0].lease;
        assert!(taken.admitted && lease > 0);
        assert!(!apply(store, Operation::Take, &[charge(b"k", &meters, 1)]).admitted);
        // What is charged afterwards holds no lease.
        apply(store, Operation::Charge, &[charge(b"k", &meters, 3)]);
        apply(store, Operation::Release, &[Charge { lease, ..charge(b"k", &meters, 1) }]);
        let again = apply(store, Operation::Take, &[charge(b"k", &meters, 1)]);
        assert!(again.admitted);
        assert_eq!(again.readings[1].remaining, 5);
    });
}

#[test]
fn giving_back_to_a_key_that_nobody_knows_does_nothing() {
    each(|store, _| {
        let meters = [Meter::Gcra(gcra("1/s", 1)), Meter::Leases(Leases { limit: 1, expiry: SECOND })];
        apply(store, Operation::Return, &[Charge { lease: 7, ..charge(b"k", &meters, 5) }]);
        assert!(apply(store, Operation::Take, &[charge(b"k", &meters, 1)]).admitted);
        assert!(!apply(store, Operation::Take, &[charge(b"k", &meters, 1)]).admitted);
    });
}

#[test]
fn the_tightest_meter_has_the_say() {
    each(|store, _| {
        let (one, other) = ([Meter::Gcra(gcra("10/s", 10))], [quota("4/h")]);
        let charges = [charge(b"a", &one, 1), charge(b"b", &other, 1)];
        for left in [3, 2, 1, 0] {
            let decision = Decision::of(&charges, &apply(store, Operation::Take, &charges));
            let governing = decision.governing.unwrap();
            assert_eq!((decision.admitted, governing.charge, governing.reading.remaining), (true, 1, left));
            assert_eq!((governing.window_seconds(), governing.meter.limit()), (3600, 4));
        }
        let refused = Decision::of(&charges, &apply(store, Operation::Take, &charges));
        assert_eq!((refused.admitted, refused.retry_after), (false, (3600 - THEN / SECOND % 3600) * SECOND));
    });
}

#[derive(Debug, Clone)]
struct Step {
    operation: usize,
    key: u8,
    other: Option<u8>,
    cost: u64,
    later: u64,
}

fn step() -> impl Strategy<Value = Step> {
    (0..5_usize, 0..3_u8, prop::option::of(3..5_u8), 0..4_u64, prop_oneof![Just(0), 0..SECOND])
        .prop_map(|(operation, key, other, cost, later)| Step { operation, key, other, cost, later })
}

proptest! {
    /// Whatever is done, the three say the same.
    #[test]
    fn all_stores_are_one(steps in prop::collection::vec(step(), 1..100)) {
        let meters = [Meter::Gcra(gcra("3/s", 5).with_debt(5)), quota("20/m")];
        let said = std::cell::RefCell::new(Vec::<Vec<Outcome>>::new());
        each(|store, now| {
            let outcomes = steps.iter().map(|step| {
                now.set(now.get() + step.later);
                let operation = [Operation::Take, Operation::Peek, Operation::Charge, Operation::Return, Operation::Release][step.operation];
                let (one, other) = ([step.key], [step.other.unwrap_or(0)]);
                let both = [charge(&one, &meters, step.cost), charge(&other, &meters[..1], step.cost)];
                let mut outcome = apply(store, operation, if step.other.is_some() { &both } else { &both[..1] });
                if !outcome.admitted {
                    // Of those that are given back, shared data remembers what they read while they were taken.
                    outcome.readings.clear();
                }
                outcome
            });
            let outcomes = outcomes.collect();
            said.borrow_mut().push(outcomes);
        });
        let said = said.into_inner();
        prop_assert!(said.iter().all(|one| *one == said[0]));
    }
}
