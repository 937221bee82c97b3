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

/// Draws a lot that falls into a share of all, from 0 (never) to 1 (always).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
pub fn chance(share: f64) -> bool {
    // Every double in steps of 2^-53, below one.
    share >= 1.0 || (share > 0.0 && ((number() >> 11) as f64) < share * (1_u64 << 53) as f64)
}
