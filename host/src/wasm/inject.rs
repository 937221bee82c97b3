//! Bytes that a filter lets pass unseen, and bytes that it adds to a TCP connection: `fyke.stream.skip.v1` and `fyke.stream.write.v1`.

use bytes::Bytes;
use fyke_engine::{Callback, Refused};

use super::exchange::{Direction, Exchange, Kind};

/// What a filter may make of a stream in one direction, whatever its limit is.
const MOST_HELD: usize = 64 << 20;

impl Exchange {
    /// Bytes that one direction may hold when filters make more of them: four times the limit, and [`MOST_HELD`] at least.
    #[must_use]
    pub fn most_held(&self) -> usize {
        self.limit.saturating_mul(4).max(MOST_HELD)
    }

    /// Lets the next `count` bytes that filter `index` has not been shown go on without it.
    pub fn skip(&mut self, index: usize, direction: Direction, count: u64) {
        if let Some(filter) = self.filters.get_mut(index) {
            let stage = filter.stage(direction);
            stage.skip = stage.skip.saturating_add(count);
        }
    }

    /// Adds bytes to a direction of a TCP connection, behind what filter `index` has let go and before what it holds.
    ///
    /// # Errors
    /// It is no TCP connection, the filter has let go of the direction's end, or too much waits there already.
    pub fn inject(&mut self, index: usize, direction: Direction, bytes: &[u8]) -> Result<(), Refused> {
        if self.kind != Kind::Tcp || self.buffered(direction).saturating_add(bytes.len()) > self.most_held() {
            return Err(Refused);
        }
        let callback = match direction {
            Direction::Request => Callback::DownstreamData,
            Direction::Response => Callback::UpstreamData,
        };
        // Where nobody looks at the data, it does not come by the other filters at all.
        let watched = self.filters.iter().any(|filter| filter.plugin.callbacks.contains(callback));
        let next = self.index(direction, index) + 1;
        let last = next >= self.filters.len();
        let stage = self.filters.get_mut(index).ok_or(Refused)?.stage(direction);
        if stage.finished || self.half(direction).outlet.end {
            return Err(Refused);
        }
        // What it has said, the peer may have read: it cannot be left out any more.
        if let Some(filter) = self.filters.get_mut(index) {
            filter.altered = true;
        }
        let bytes = Bytes::copy_from_slice(bytes);
        if watched && !last {
            self.push_into(direction, next, |stage| stage.inbox.push(bytes));
        } else {
            self.half(direction).outlet.body.push(bytes);
        }
        self.wake();
        Ok(())
    }
}
