//! A hash for small keys of our own making (context ids, tokens): one multiplication, no seed, no call of the host for one.

use std::hash::{BuildHasherDefault, Hasher};

/// Hashes one integer.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct IntegerHasher(u64);

/// Its builder.
pub(crate) type FastHash = BuildHasherDefault<IntegerHasher>;

impl Hasher for IntegerHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        // hashbrown takes its tag from the top bits and the bucket from the low ones: both must depend on the id.
        let product = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}
