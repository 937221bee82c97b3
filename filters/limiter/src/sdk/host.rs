//! Limits that the host counts, by `fyke.shared.take.v1`: one call, one lock, its own clock.

use std::cell::RefCell;

use fyke_sdk::abi;

use super::failed;
use crate::store::{Charge, Operation, Outcome, Store, StoreError};
use crate::wire;

/// The host's table.
#[derive(Debug, Default)]
pub struct HostStore {
    /// Used again for every call.
    arguments: RefCell<Vec<u8>>,
}

impl HostStore {
    /// Asks the host for nothing, to see whether it understands.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where it does not.
    pub fn probe() -> Result<Self, StoreError> {
        let store = Self::default();
        store.apply(Operation::Peek, &[], &mut Outcome::default())?;
        Ok(store)
    }
}

impl Store for HostStore {
    fn apply(&self, operation: Operation, charges: &[Charge<'_>], outcome: &mut Outcome) -> Result<(), StoreError> {
        let Ok(mut arguments) = self.arguments.try_borrow_mut() else { return Err(StoreError::Contended) };
        arguments.clear();
        wire::encode(operation, charges, &mut arguments);
        let answer = abi::call_foreign_function(wire::TAKE, &arguments).map_err(failed)?;
        wire::read_outcome(&answer, outcome).map_err(|_| StoreError::Malformed)?;
        let wanted: usize = match operation {
            Operation::Take | Operation::Peek => charges.iter().map(|charge| charge.meters.len()).sum(),
            Operation::Charge | Operation::Return | Operation::Release => 0,
        };
        if outcome.readings.len() == wanted { Ok(()) } else { Err(StoreError::Malformed) }
    }
}
