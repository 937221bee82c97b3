//! What is kept of messages: [`request`] and [`reply`], and which [`command`]s there are.

pub mod command;
pub mod reply;
pub mod request;

/// Database and collection of a namespace; they are parted by its first dot.
#[must_use]
pub fn parts(namespace: &[u8]) -> (&[u8], &[u8]) {
    let dot = namespace.iter().position(|byte| *byte == b'.').unwrap_or(namespace.len());
    (namespace.get(..dot).unwrap_or_default(), namespace.get(dot + 1..).unwrap_or_default())
}

/// A name that came from a peer: bytes that are kept where the last one was, cut at [`Name::LONGEST`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    /// The most that is kept, in bytes: a database has 63 at most, a collection 255 with it.
    pub const LONGEST: usize = 255;

    /// Forgets it.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Another one.
    pub fn set(&mut self, bytes: &[u8]) {
        self.0.clear();
        self.0.extend_from_slice(bytes.get(..Self::LONGEST).unwrap_or(bytes));
    }

    /// Its bytes, not checked to be UTF-8.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
