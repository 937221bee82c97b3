//! Charges, what comes of them, and who keeps the states.

use std::fmt;
use std::sync::Arc;

use crate::meter::{Meter, Now, Reading, State};
use crate::table::Table;

/// What one key is charged, on all of its meters.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// Whose meters they are. Two charges of one call should not have the same.
    pub key: &'a [u8],
    /// At most 255.
    pub meters: &'a [Meter],
    /// How much; zero always passes, and shows what the meters read.
    pub cost: u64,
    /// For [`Operation::Return`] and [`Operation::Release`] of leases: what [`Reading::lease`] said. Zero: leases stay as they are.
    pub lease: u64,
}

/// What is done with charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Takes all of them, or none where one meter refuses.
    Take,
    /// Says what [`Operation::Take`] would, and takes nothing.
    Peek,
    /// Takes all of them, whether they fit or not. Meters of leases stay as they are.
    Charge,
    /// Gives all of them back.
    Return,
    /// Gives leases back, and leaves other meters as they are.
    Release,
}

impl Charge<'_> {
    /// The state of one of its meters afterwards; `None` where the operation leaves that as it is.
    pub(crate) fn after(&self, operation: Operation, meter: &Meter, state: State, now: Now) -> Option<State> {
        match (operation, meter) {
            (Operation::Take, _) => Some(meter.take(state, self.cost, now).1),
            (Operation::Peek, _) | (Operation::Charge, Meter::Leases(_)) => None,
            (Operation::Release, Meter::Gcra(_) | Meter::Window(_)) => None,
            (Operation::Charge, _) => Some(meter.charge(state, self.cost, now)),
            (Operation::Return | Operation::Release, Meter::Leases(_)) if self.lease == 0 => None,
            (Operation::Return | Operation::Release, _) => Some(meter.give(state, self.cost, self.lease, now)),
        }
    }
}

/// What came of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether every meter of every charge passes (and, of [`Operation::Take`], was charged). Always so of [`Operation::Charge`],
    /// [`Operation::Return`] and [`Operation::Release`], which have no readings.
    pub admitted: bool,
    /// One for each meter of each charge, in their order.
    pub readings: Vec<Reading>,
}

impl Outcome {
    /// What came of each charge by itself; these are how many meters each of them has, in their order. It is admitted where its own meters pass.
    pub fn each(&self, meters: impl IntoIterator<Item = usize>) -> impl Iterator<Item = Self> {
        let mut rest = self.readings.iter();
        meters.into_iter().map(move |count| {
            let readings: Vec<Reading> = rest.by_ref().take(count).copied().collect();
            Self { admitted: readings.iter().all(|reading| reading.passes), readings }
        })
    }

    pub(crate) fn clear(&mut self) {
        self.admitted = true;
        self.readings.clear();
    }

    pub(crate) fn add(&mut self, reading: Reading) {
        self.admitted &= reading.passes;
        self.readings.push(reading);
    }
}

/// Why a store cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// There is no such store, or it is not granted.
    Unavailable,
    /// It holds as much as it may.
    Full,
    /// Others were faster every time.
    Contended,
    /// What came back is no outcome.
    Malformed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "the store of limits is not there, or not granted (allow: { shared_data: true })",
            Self::Full => "the store of limits is full",
            Self::Contended => "a limit changed too often while it was updated",
            Self::Malformed => "the store of limits answered what is no outcome",
        })
    }
}

impl std::error::Error for StoreError {}

/// Who keeps the states.
pub trait Store {
    /// Does it, with every charge or with none. `outcome` is written anew; it is an argument so that its memory is used again.
    ///
    /// # Errors
    /// [`StoreError`]. Then nothing was charged, as far as anybody knows.
    fn apply(&self, operation: Operation, charges: &[Charge<'_>], outcome: &mut Outcome) -> Result<(), StoreError>;
}

/// A [`Table`], and a clock for it.
#[derive(Clone)]
pub struct MemoryStore<C> {
    table: Arc<Table>,
    clock: C,
}

impl<C: Fn() -> Now> MemoryStore<C> {
    /// Of a table that several may share, whose clocks have to agree.
    #[must_use]
    pub const fn new(table: Arc<Table>, clock: C) -> Self {
        Self { table, clock }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }
}

impl<C: Fn() -> Now> Store for MemoryStore<C> {
    fn apply(&self, operation: Operation, charges: &[Charge<'_>], outcome: &mut Outcome) -> Result<(), StoreError> {
        self.table.apply(operation, charges, &self.clock, outcome);
        Ok(())
    }
}

impl<C> fmt::Debug for MemoryStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("table", &self.table).finish_non_exhaustive()
    }
}
