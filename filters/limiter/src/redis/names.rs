//! Names of keys: of whatever clients send, unmistakable, bounded, the same in every process, and readable.

use sha2::{Digest, Sha256};

/// Longer parts are told by a digest.
const LONGEST_PART: usize = 64;

/// The same of all parts together, as they are written.
const LONGEST: usize = 512;

/// Puts names together from parts: a prefix, and the parts between colons. Two lists of parts make the same name only if they are the same.
///
/// Bytes that are no visible ASCII, and `:`, `%`, `#`, `{` and `}`, are written as `%` and two hexadecimal digits: so no part looks like two, and none is a hash tag, which would choose the
/// slot of a cluster. A part of more than 64 bytes is `#` and half of its SHA-256.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: usize,
    bytes: Vec<u8>,
    /// Whether there is a part.
    begun: bool,
}

impl Names {
    /// Names that begin with this, as it is.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.len(), bytes: prefix.as_bytes().to_vec(), begun: false }
    }

    /// Begins a new name.
    pub fn clear(&mut self) {
        self.bytes.truncate(self.prefix);
        self.begun = false;
    }

    /// Adds a part.
    pub fn push(&mut self, part: &[u8]) {
        if self.begun {
            self.bytes.push(b':');
        }
        self.begun = true;
        if part.len() > LONGEST_PART {
            digest(part, &mut self.bytes);
            return;
        }
        for byte in part {
            if byte.is_ascii_graphic() && !b":%#{}".contains(byte) {
                self.bytes.push(*byte);
            } else {
                self.bytes.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&mut self) -> &[u8] {
        if self.bytes.len() - self.prefix > LONGEST {
            let parts = self.bytes.split_off(self.prefix);
            // No part begins so.
            self.bytes.push(b'#');
            digest(&parts, &mut self.bytes);
        }
        &self.bytes
    }
}

/// Not of [`KeyBuilder`](crate::KeyBuilder)'s kind, whose seed is a secret of one process.
fn digest(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'#');
    for byte in Sha256::digest(bytes).iter().take(16) {
        out.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}
