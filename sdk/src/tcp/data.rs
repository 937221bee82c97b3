//! Bytes of one direction.

use std::cell::OnceCell;

use super::{Side, current};
use crate::abi::{self, Status};
use crate::error::Result;

/// Bytes of one direction that are here now and were not passed on yet. Untouched, they pass without being copied into the filter.
#[derive(Debug)]
pub struct Data {
    side: Side,
    /// Where they begin in the host's buffer; what is before it is skipped.
    start: usize,
    length: usize,
    end: bool,
    skip: u64,
    /// How many of them [`Data::pass`] has let go, and beyond.
    passed: u64,
    bytes: OnceCell<Vec<u8>>,
}

impl Data {
    pub(crate) fn new(side: Side, skipped: usize, size: usize, end: bool) -> Self {
        let start = skipped.min(size);
        Self { side, start, length: size - start, end, skip: 0, passed: 0, bytes: OnceCell::new() }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let left = u64::try_from(self.length).unwrap_or(u64::MAX).saturating_sub(self.passed);
        Outcome { side: self.side, skip: self.skip, passed: self.passed > 0, left }
    }

    /// Drops what was not let go.
    pub(crate) fn drop_rest(&mut self) {
        // A host that refuses lets it go.
        let _ = self.discard(usize::MAX);
    }

    /// All of them; copied out of the host at the first call.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        self.bytes.get_or_init(|| self.read(0, self.length))
    }

    /// At most `length` of them from `start` on: what it takes to look at a head, and to leave a body where it is.
    #[must_use]
    pub fn read(&self, start: usize, length: usize) -> Vec<u8> {
        let length = length.min(self.length.saturating_sub(start));
        if length == 0 {
            return Vec::new();
        }
        abi::buffer(self.side.buffer(), self.start + start, length).unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none, as at an end that comes alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether this direction ends here.
    #[must_use]
    pub fn end_of_stream(&self) -> bool {
        self.end
    }

    /// Sends other bytes in their place.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn replace(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let bytes = bytes.as_ref();
        self.bytes.take();
        abi::set_buffer(self.side.buffer(), self.start, self.length, bytes)?;
        self.length = bytes.len();
        Ok(())
    }

    /// The first `count` of those that [`pass`](Data::pass) has not let go are dropped: a request that is answered here goes nowhere. What is behind them is neither
    /// copied nor shown again for it.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn discard(&mut self, count: usize) -> Result<()> {
        let passed = usize::try_from(self.passed).unwrap_or(usize::MAX).min(self.length);
        let count = count.min(self.length - passed);
        if count > 0 {
            self.bytes.take();
            abi::set_buffer(self.side.buffer(), self.start + passed, count, &[])?;
            self.length -= count;
        }
        Ok(())
    }

    /// The next `count` bytes of this direction, after those that are here, pass without being shown. On Fyke without a call;
    /// elsewhere the SDK lets them pass.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn skip(&mut self, count: u64) -> Result<()> {
        match current::call("fyke.stream.skip.v1", self.side, &count.to_le_bytes()) {
            Err(Status::NOT_FOUND) => self.skip = self.skip.saturating_add(count),
            other => other?,
        }
        Ok(())
    }

    /// The first `count` bytes of these go on, whatever is answered but [`TcpFlow::Close`](super::TcpFlow::Close); what is missing of them goes on when
    /// it arrives, without being shown. With [`TcpFlow::NeedMore`](super::TcpFlow::NeedMore) the rest stays, and is shown again with what arrives: so
    /// whole messages go, and the beginning of the next one waits. Counts add up. The bytes go on when the method has returned, behind
    /// whatever it writes. Fyke only.
    ///
    /// # Errors
    /// When the host cannot: it is not Fyke.
    pub fn pass(&mut self, count: u64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        // Bytes in front that the SDK skips are in the host's hands too.
        let front = if self.passed == 0 { u64::try_from(self.start).unwrap_or(u64::MAX) } else { 0 };
        pass(self.side, count.saturating_add(front))?;
        self.passed = self.passed.saturating_add(count);
        Ok(())
    }

    /// Writes bytes of the filter's own towards a side, behind what has passed and before what is held. Fyke only.
    ///
    /// # Errors
    /// When the host cannot: it is not Fyke, that direction is over, or too much waits already.
    pub fn write(&mut self, to: Side, bytes: impl AsRef<[u8]>) -> Result<()> {
        current::write_to(to, bytes.as_ref())
    }
}

/// What became of data in a method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    side: Side,
    /// Bytes to skip, on a host that cannot.
    pub skip: u64,
    /// Whether the filter let some of it go.
    pub passed: bool,
    /// How many it did not.
    pub left: u64,
}

impl Outcome {
    /// Lets everything go, outside of the callback that showed it.
    pub fn let_go(self) {
        if !self.passed {
            abi::continue_connection(self.side);
        } else if self.left > 0 {
            // A continue would let go of what `pass` counts, which would then count what comes behind it.
            let _ = pass(self.side, self.left);
        }
    }
}

fn pass(side: Side, count: u64) -> Result<()> {
    current::demand("fyke.stream.pass.v1", "this host lets go of all or nothing", side, &count.to_le_bytes())
}
