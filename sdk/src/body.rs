//! Bodies: a chunk at a time, or whole.

use std::cell::OnceCell;

use crate::abi::{self, BufferKind};
use crate::error::Result;

/// The bytes of a body that are here now.
#[derive(Debug)]
struct Bytes {
    kind: BufferKind,
    length: usize,
    bytes: OnceCell<Vec<u8>>,
}

impl Bytes {
    fn new(kind: BufferKind, length: usize) -> Self {
        Self { kind, length, bytes: OnceCell::new() }
    }

    fn read(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        self.bytes.get_or_init(|| abi::buffer(self.kind, 0, self.length).unwrap_or_default())
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.take();
        abi::set_buffer(self.kind, 0, self.length, bytes)?;
        self.length = bytes.len();
        Ok(())
    }
}

/// One chunk of a streamed body. Untouched, it passes without being copied into the filter.
#[derive(Debug)]
pub struct Chunk {
    bytes: Bytes,
    end_of_stream: bool,
}

impl Chunk {
    pub(crate) fn new(kind: BufferKind, length: usize, end_of_stream: bool) -> Self {
        Self { bytes: Bytes::new(kind, length), end_of_stream }
    }

    /// The bytes; copied out of the host at the first call.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.read()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.length
    }

    /// Whether there are none, as in a last chunk that only ends the body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.length == 0
    }

    /// Whether the body ends here. (When trailers follow, no chunk says so.)
    #[must_use]
    pub fn end_of_stream(&self) -> bool {
        self.end_of_stream
    }

    /// Sends other bytes in its place. A `content-length` must be removed beforehand, in the headers' phase.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn replace(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.bytes.replace(bytes.as_ref())
    }
}

/// A whole body, held by the host together with the headers.
#[derive(Debug)]
pub struct Body {
    bytes: Bytes,
}

impl Body {
    pub(crate) fn new(kind: BufferKind, length: usize) -> Self {
        Self { bytes: Bytes::new(kind, length) }
    }

    /// The bytes; copied out of the host at the first call.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.read()
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(self.bytes())?)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.length == 0
    }

    /// Sends another body in its place. Set or remove `content-length` to match; the headers are still here.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn replace(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.bytes.replace(bytes.as_ref())
    }
}
