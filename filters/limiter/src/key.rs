//! Keys: of whatever clients send, unmistakable and bounded.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// The most bytes of a key. What would be longer is a hash of 128 bits.
pub const LONGEST_KEY: usize = 256;

/// What hashes depend on, so that nobody can choose values that meet. All who share a store share a seed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    keys: [u64; 2],
}

impl Seed {
    /// Of random numbers.
    #[must_use]
    pub const fn of(keys: [u64; 2]) -> Self {
        Self { keys }
    }

    /// Of random bytes.
    #[must_use]
    pub const fn of_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self::of([u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])])
    }

    pub(crate) fn hash(self, bytes: &[u8]) -> u128 {
        let [one, other] = self.keys;
        let mut hasher = SipHasher24::new_with_keys(one, other);
        hasher.write(bytes);
        hasher.finish128().as_u128()
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What it is, is a secret.
        f.write_str("Seed")
    }
}

/// Puts a key together from parts. Two lists of parts make the same key only if they are the same.
#[derive(Debug, Clone)]
pub struct KeyBuilder {
    seed: Seed,
    bytes: Vec<u8>,
}

impl KeyBuilder {
    /// An empty one, to be used again and again.
    #[must_use]
    pub const fn new(seed: Seed) -> Self {
        Self { seed, bytes: Vec::new() }
    }

    /// Begins a new key.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// How far it has got, for [`KeyBuilder::truncate`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Back to where it was.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Adds a part. One of more than 64 bytes is hashed, so that a key of few parts stays short whatever they are.
    pub fn push(&mut self, part: &[u8]) {
        match u8::try_from(part.len()) {
            Ok(length) if length <= 64 => {
                self.bytes.push(length);
                self.bytes.extend_from_slice(part);
            }
            // No length that a part has.
            _ => {
                self.bytes.push(0xff);
                self.bytes.extend_from_slice(&self.seed.hash(part).to_le_bytes());
            }
        }
    }

    /// The key, of at most [`LONGEST_KEY`] bytes.
    #[must_use]
    pub fn key(&mut self) -> &[u8] {
        if self.bytes.len() > LONGEST_KEY {
            let hash = self.seed.hash(&self.bytes).to_le_bytes();
            self.bytes.clear();
            // Nor that.
            self.bytes.push(0xfe);
            self.bytes.extend_from_slice(&hash);
        }
        &self.bytes
    }
}
