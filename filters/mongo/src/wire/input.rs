//! What frames are made of, how much of it is looked at, and what comes of it.

use super::Unreadable;

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// Bytes below the first level of each document.
    pub document: usize,
    /// Compressed bytes that are kept of a message.
    pub compressed: usize,
    /// Bytes that are made of them.
    pub inflated: usize,
}

/// Bytes that are there.
pub trait Input {
    /// How many.
    fn length(&self) -> usize;
    /// Some of them; fewer only where there are no more.
    fn read(&self, at: usize, count: usize) -> Vec<u8>;
}

impl Input for fyke_sdk::Data {
    fn length(&self) -> usize {
        self.len()
    }

    fn read(&self, at: usize, count: usize) -> Vec<u8> {
        Self::read(self, at, count)
    }
}

/// What has become of the message at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// All that decides about it is known.
    Known,
    /// It was seen as far as it ever will be, and whether all of what was looked for was found.
    Read { whole: bool },
    /// It cannot be read. It has a header, and the stream goes on behind it.
    Bad(Unreadable),
    /// What should be a header has this length: there is no next message to be found.
    Lost(i32),
}

/// A message that is there as a whole.
impl Input for Vec<u8> {
    fn length(&self) -> usize {
        self.len()
    }

    fn read(&self, at: usize, count: usize) -> Vec<u8> {
        let end = at.saturating_add(count).min(self.len());
        self.get(at..end).unwrap_or_default().to_vec()
    }
}
