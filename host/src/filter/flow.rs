//! What flows into a direction of a stream, and whether more of it may.

use bytes::Bytes;
use http::HeaderMap;

use crate::wasm::exchange::{BodyHold, Direction, Exchange, Hold, Stage};

impl Exchange {
    /// The place in the chain of the filter that comes at `position` in a direction. The same function leads back.
    pub(crate) fn index(&self, direction: Direction, position: usize) -> usize {
        match direction {
            Direction::Request => position,
            Direction::Response => self.filters.len().saturating_sub(position + 1),
        }
    }

    /// Whether the headers have passed every filter.
    #[must_use]
    pub fn head_passed(&mut self, direction: Direction) -> bool {
        let count = self.filters.len();
        let outlet = &self.half(direction).outlet;
        outlet.started && outlet.head >= count
    }

    /// Whether body bytes, or the end of the body, were given to the filters already, although none of them may look at bodies: a
    /// filter that holds nothing but headers lets the body flow as far as the end of the chain.
    #[must_use]
    pub fn was_fed(&mut self, direction: Direction) -> bool {
        let half = self.half(direction);
        half.bytes > 0 || half.outlet.end
    }

    /// Whether the stream must stop here: a filter replied, or it is to be reset.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.reply.is_some() || self.reset
    }

    /// Bytes that are held in one direction.
    #[must_use]
    pub fn buffered(&mut self, direction: Direction) -> usize {
        let stages: usize = self.filters.iter_mut().map(|filter| filter.stage(direction).held_bytes()).sum();
        stages + self.half(direction).outlet.body.len()
    }

    /// Whether more bytes may be read for one direction. Below the limit always; above it only where they would come to a filter
    /// that buffers a whole body and has not reached the limit itself, because there too much is an error that has to be found.
    #[must_use]
    pub fn wants_more(&mut self, direction: Direction) -> bool {
        let limit = self.limit;
        if self.buffered(direction) < limit {
            return true;
        }
        let count = self.filters.len();
        for position in 0..count {
            let index = self.index(direction, position);
            let Some(filter) = self.filters.get_mut(index) else { return false };
            let stage = filter.stage(direction);
            match (stage.hold, stage.body_hold) {
                (Hold::AllAndBuffer, _) | (_, BodyHold::Buffer) => return stage.held_bytes() <= limit,
                (Hold::AllAndWatermark, _) | (_, BodyHold::Watermark) => return false,
                (Hold::None | Hold::HeadersOnly, BodyHold::None) => {}
            }
        }
        false
    }

    pub(crate) fn push_into(&mut self, direction: Direction, position: usize, f: impl FnOnce(&mut Stage)) {
        let index = self.index(direction, position);
        if let Some(filter) = self.filters.get_mut(index) {
            f(filter.stage(direction));
        }
    }
}

/// Begins a direction at filter number `position` of its order; `end` says that there is no body.
pub fn start(exchange: &mut Exchange, direction: Direction, position: usize, end: bool) {
    let half = exchange.half(direction);
    half.settled = false;
    half.outlet.started = true;
    half.outlet.head = position;
    half.outlet.head_end = end;
}

/// Hands over body bytes that have arrived.
pub fn push_data(exchange: &mut Exchange, direction: Direction, position: usize, bytes: Bytes) {
    let half = exchange.half(direction);
    half.settled = false;
    half.bytes += bytes.len() as u64;
    if position >= exchange.filters.len() {
        exchange.half(direction).outlet.body.push(bytes);
    } else {
        exchange.push_into(direction, position, |stage| stage.inbox.push(bytes));
    }
}

/// Says that the body has ended, with or without trailers.
pub fn push_end(exchange: &mut Exchange, direction: Direction, position: usize, trailers: Option<HeaderMap>) {
    let has_trailers = trailers.is_some();
    let half = exchange.half(direction);
    half.settled = false;
    half.trailers = trailers;
    if position >= exchange.filters.len() {
        exchange.half(direction).outlet.end = true;
    } else {
        exchange.push_into(direction, position, |stage| {
            stage.end = true;
            stage.trailers = has_trailers;
        });
    }
}
