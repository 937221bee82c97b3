//! Randomness. Always the host's: instances that were copied from one image would otherwise repeat each other.

use crate::abi;

/// Fills `bytes`.
pub fn fill(bytes: &mut [u8]) {
    abi::random(bytes);
}

/// A random number, every one as likely.
#[must_use]
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    abi::random(&mut bytes);
    u64::from_le_bytes(bytes)
}
