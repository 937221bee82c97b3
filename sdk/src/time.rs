//! The host's clock.

use std::time::{Duration, SystemTime};

use crate::abi;

/// The time now.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(abi::now())
}
