//! Bodies: a chunk at a time, or whole.

use std::cell::OnceCell;

use crate::abi::{self, BufferKind, Side, Status};
use crate::error::Result;

/// The bytes of a body that are here now.
#[derive(Debug)]
struct Bytes {
    kind: BufferKind,
    /// Where they begin in the host's buffer.
    start: usize,
    length: usize,
    bytes: OnceCell<Vec<u8>>,
}

impl Bytes {
    fn new(kind: BufferKind, start: usize, length: usize) -> Self {
        Self { kind, start, length, bytes: OnceCell::new() }
    }

    fn read(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        self.bytes.get_or_init(|| abi::buffer(self.kind, self.start, self.length).unwrap_or_default())
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.take();
        abi::set_buffer(self.kind, self.start, self.length, bytes)?;
        self.length = bytes.len();
        Ok(())
    }
}

/// One chunk of a streamed body. Untouched, it passes without being copied into the filter.
#[derive(Debug)]
pub struct Chunk {
    side: Side,
    bytes: Bytes,
    end_of_stream: bool,
    skip: u64,
}

impl Chunk {
    pub(crate) fn new(side: Side, skipped: usize, size: usize, end_of_stream: bool) -> Self {
        let start = skipped.min(size);
        Self { side, bytes: Bytes::new(side.body(), start, size - start), end_of_stream, skip: 0 }
    }

    pub(crate) fn into_skip(self) -> u64 {
        self.skip
    }

    /// The bytes; copied out of the host at the first call.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.read()
    }

    /// At most `length` of them from `start` on: what it takes to look at a head, and to leave a body where it is.
    #[must_use]
    pub fn read(&self, start: usize, length: usize) -> Vec<u8> {
        let length = length.min(self.len().saturating_sub(start));
        if length == 0 {
            return Vec::new();
        }
        abi::buffer(self.bytes.kind, self.bytes.start + start, length).unwrap_or_default()
    }

    /// The next `count` bytes of this body, after those that are here, pass without being shown; its end is shown all the same. On
    /// Fyke without a call; elsewhere the SDK lets them pass.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn skip(&mut self, count: u64) -> Result<()> {
        let mut arguments = (self.side as u32).to_le_bytes().to_vec();
        arguments.extend_from_slice(&count.to_le_bytes());
        match abi::call_foreign_function("fyke.stream.skip.v1", &arguments) {
            Err(Status::NOT_FOUND) => self.skip = self.skip.saturating_add(count),
            other => drop(other?),
        }
        Ok(())
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
        Self { bytes: Bytes::new(kind, 0, length) }
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
