//! What comes behind the length of a bulk string: its bytes, of which the first may be kept, and CR and LF.

use super::Bad;

/// Where in it a reader is.
#[derive(Debug, Clone, Copy)]
pub enum Bulk {
    /// Bytes are left, of which the first are kept.
    Body {
        /// How many.
        left: u64,
        /// How many of those.
        keep: u64,
    },
    /// CR and LF behind it; how many of them are there.
    Ending(u8),
}

impl Bulk {
    /// One of so many bytes, of which the first `keep` are kept.
    pub const fn new(length: u64, keep: u64) -> Self {
        if length == 0 { Self::Ending(0) } else { Self::Body { left: length, keep } }
    }

    /// Takes bytes, and hands on those that are kept; how many, which is none where the next ones are to be skipped, and whether it is over.
    ///
    /// # Errors
    /// It ends badly.
    pub fn feed(&mut self, bytes: &[u8], kept: impl FnOnce(&[u8])) -> Result<(usize, bool), Bad> {
        match (*self, bytes.first()) {
            (Self::Body { keep: 0, .. }, _) | (_, None) => Ok((0, false)),
            (Self::Body { left, keep }, _) => {
                let count = usize::try_from(keep).unwrap_or(usize::MAX).min(bytes.len());
                kept(bytes.get(..count).unwrap_or_default());
                *self = Self::new(left.saturating_sub(count as u64), keep.saturating_sub(count as u64));
                Ok((count, false))
            }
            (Self::Ending(0), Some(b'\r')) => {
                *self = Self::Ending(1);
                Ok((1, false))
            }
            (Self::Ending(1), Some(b'\n')) => Ok((1, true)),
            (Self::Ending(_), _) => Err(Bad::Ending),
        }
    }

    /// How many bytes come next that nobody needs to see.
    pub const fn body(self) -> u64 {
        match self {
            Self::Body { left, keep: 0 } => left,
            _ => 0,
        }
    }

    /// So many of those have passed.
    pub const fn skip(&mut self, count: u64) {
        if let Self::Body { left, keep: 0 } = *self {
            *self = Self::new(left.saturating_sub(count), 0);
        }
    }
}
