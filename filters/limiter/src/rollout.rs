//! A share of all keys, always the same ones.

use crate::key::Seed;

/// Whether a key is among a share of all keys, from 0 to 1. A larger share has all keys of a smaller one. It is the same in every process and
/// for ever; `salt` (the limit's name) makes the shares of two limits independent.
#[must_use]
pub fn includes(salt: &[u8], key: &[u8], share: f64) -> bool {
    if share >= 1.0 {
        return true;
    }
    let salt = Seed::of([0, 0]).hash(salt);
    let low = u64::try_from(salt & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(salt >> 64).unwrap_or(0);
    let hash = Seed::of([low, high]).hash(key) >> 75;
    // 53 bits are what a double has.
    let hash = u64::try_from(hash).unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let place = hash as f64 / (1_u64 << 53) as f64;
    place < share
}
