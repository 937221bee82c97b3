//! The stores of filters, over what the host has.

mod host;
mod schemas;
pub(crate) mod shared;

use fyke_sdk::abi::Status;
use fyke_sdk::{ConfigError, Env};

use crate::key::Seed;
use crate::store::{Charge, Operation, Outcome, Store, StoreError};

pub use host::HostStore;
pub use shared::SharedStore;

/// The better of the two stores that there is.
#[derive(Debug)]
pub enum SdkStore {
    /// The host counts.
    Host(HostStore),
    /// This filter counts, in shared data.
    Shared(SharedStore),
}

impl SdkStore {
    /// Finds out which there is. `env` is what says that this is `configure`; the grant is `allow: { shared_data: true }`.
    ///
    /// # Errors
    /// When there is neither.
    pub fn open(_env: &mut Env) -> Result<Self, ConfigError> {
        if !SharedStore::is_granted() {
            return Err(ConfigError::new(
                "limits are kept in shared data: the filter needs `allow: { shared_data: true }`",
            ));
        }
        match HostStore::probe() {
            Ok(store) => Ok(Self::Host(store)),
            Err(StoreError::Unavailable) => Ok(Self::Shared(SharedStore::default())),
            Err(error) => Err(ConfigError::new(error.to_string())),
        }
    }

    /// What hashes of keys depend on: the same for all workers, and for as long as the process lives.
    ///
    /// # Errors
    /// When it can be neither found nor stored.
    pub fn seed(&self) -> Result<Seed, ConfigError> {
        shared::seed().map_err(|error| ConfigError::new(error.to_string()))
    }
}

impl Store for SdkStore {
    fn apply(&self, operation: Operation, charges: &[Charge<'_>], outcome: &mut Outcome) -> Result<(), StoreError> {
        match self {
            Self::Host(store) => store.apply(operation, charges, outcome),
            Self::Shared(store) => store.apply(operation, charges, outcome),
        }
    }
}

fn failed(status: Status) -> StoreError {
    match status {
        Status::NOT_FOUND => StoreError::Unavailable,
        Status::INTERNAL_FAILURE => StoreError::Full,
        _ => StoreError::Malformed,
    }
}
