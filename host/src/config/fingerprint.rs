//! Tells whether a part of a configuration is still the one that it was, wherever it stands now.

use sha2::{Digest, Sha256};

/// What was written and the files that it names (certificates, keys), as one number. Comments and order do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of these parts, in this order.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // With lengths, no two rows of parts read the same.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Its bytes, to be a part of another one.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_eq!(Fingerprint::of([&b"ab"[..], b"c"]), Fingerprint::of([&b"ab"[..], b"c"]));
        assert_ne!(Fingerprint::of([&b"ab"[..], b"c"]), Fingerprint::of([&b"a"[..], b"bc"]));
        assert_ne!(Fingerprint::of([&b""[..]]), Fingerprint::of([]));
    }
}
