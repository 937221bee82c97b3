//! Moves a message through the filters of one direction.
//!
//! Each filter has a [`Stage`](crate::wasm::exchange::Stage) with an inbox. [`pump`] walks the stages in order and lets each
//! do what it can: show the headers, show new bytes, pass on what is not held. Data reaches a stage only after the
//! headers did, trailers only after the data, so one walk from the front settles everything.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    task::Waker,
};

use bytes::Bytes;
use fyke_engine::{DataAction, HeadersAction};
use http::HeaderMap;

use super::{
    chain::{self, Gone, callbacks, wants},
    reply,
};
use crate::{
    config::resolved::{HeadersPause, OnFailure},
    wasm::{
        env::Env,
        exchange::{BodyHold, Direction, Exchange, Hold, Stage},
        vm::Acquired,
    },
};

/// A stream and what is needed to move it.
pub struct Pump<'a> {
    /// Surroundings.
    pub env: &'a Rc<Env>,
    /// The stream, for callouts to find it again.
    pub weak: &'a Weak<RefCell<Exchange>>,
    /// Whom to wake when an instance that is being built is ready.
    pub waker: Option<&'a Waker>,
}

impl Exchange {
    fn index(&self, direction: Direction, position: usize) -> usize {
        match direction {
            Direction::Request => position,
            Direction::Response => (self.filters.len() - 1).saturating_sub(position),
        }
    }

    /// Whether the headers have passed every filter.
    #[must_use]
    pub fn head_passed(&mut self, direction: Direction) -> bool {
        let count = self.filters.len();
        let outlet = &self.half(direction).outlet;
        outlet.started && outlet.head >= count
    }

    /// Whether the stream must stop here: a filter replied, or it is to be reset.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.reply.is_some() || self.reset
    }

    /// Bytes that are held in one direction.
    #[must_use]
    pub fn buffered(&mut self, direction: Direction) -> usize {
        let stages: usize = self
            .filters
            .iter_mut()
            .map(|filter| {
                let stage = filter.stage(direction);
                stage.inbox.len() + stage.held.len()
            })
            .sum();
        stages + self.half(direction).outlet.body.len()
    }

    /// Whether more bytes may be read for one direction: below the limit, or where too much is an error that has to be found.
    #[must_use]
    pub fn wants_more(&mut self, direction: Direction) -> bool {
        let limit = self.limit;
        self.buffered(direction) < limit
            || self.filters.iter_mut().any(|filter| {
                let stage = filter.stage(direction);
                stage.body_hold == BodyHold::Buffer || stage.hold == Hold::AllAndBuffer
            })
    }

    fn push_into(&mut self, direction: Direction, position: usize, f: impl FnOnce(&mut Stage)) {
        let index = self.index(direction, position);
        if let Some(filter) = self.filters.get_mut(index) {
            f(filter.stage(direction));
        }
    }
}

/// Begins a direction at filter number `position` of its order; `end` says that there is no body.
pub fn start(exchange: &mut Exchange, direction: Direction, position: usize, end: bool) {
    let outlet = &mut exchange.half(direction).outlet;
    outlet.started = true;
    outlet.head = position;
    outlet.head_end = end;
}

/// Hands over body bytes that have arrived.
pub fn push_data(exchange: &mut Exchange, direction: Direction, position: usize, bytes: Bytes) {
    exchange.half(direction).bytes += bytes.len() as u64;
    if position >= exchange.filters.len() {
        exchange.half(direction).outlet.body.push(bytes);
    } else {
        exchange.push_into(direction, position, |stage| stage.inbox.push(bytes));
    }
}

/// Says that the body has ended, with or without trailers.
pub fn push_end(exchange: &mut Exchange, direction: Direction, position: usize, trailers: Option<HeaderMap>) {
    let has_trailers = trailers.is_some();
    exchange.half(direction).trailers = trailers;
    if position >= exchange.filters.len() {
        exchange.half(direction).outlet.end = true;
    } else {
        exchange.push_into(direction, position, |stage| {
            stage.end = true;
            stage.trailers = has_trailers;
        });
    }
}

impl Pump<'_> {
    /// Lets every filter of a direction do what it can now.
    pub fn run(&self, exchange: &mut Exchange, direction: Direction) {
        if !exchange.half(direction).outlet.started {
            return;
        }
        for position in 0..exchange.filters.len() {
            if exchange.is_interrupted() {
                return;
            }
            self.advance(exchange, direction, position);
        }
    }

    fn advance(&self, exchange: &mut Exchange, direction: Direction, position: usize) {
        let head = exchange.half(direction).outlet.head;
        if head < position {
            return;
        }
        let index = exchange.index(direction, position);
        if head == position && !self.headers(exchange, direction, index) {
            return;
        }
        if exchange.is_interrupted() {
            return;
        }
        self.body(exchange, direction, position, index);
        if exchange.is_interrupted() {
            return;
        }
        self.trailers(exchange, direction, position, index);
        if exchange.is_interrupted() {
            return;
        }
        self.forward(exchange, direction, position, index);
    }

    /// Shows the headers to a filter. Returns whether the body may flow to it.
    fn headers(&self, exchange: &mut Exchange, direction: Direction, index: usize) -> bool {
        let Some(filter) = exchange.filters.get_mut(index) else { return false };
        let seen = filter.stage(direction).headers_seen;
        if !seen {
            if filter.slot.is_none() && !filter.skipped {
                if direction == Direction::Response {
                    // It has never met this stream: the answer came from outside of it.
                    filter.skipped = true;
                } else {
                    match self.admit(exchange, index) {
                        Admitted::Yes => {}
                        Admitted::Wait => return false,
                        Admitted::No => {
                            fail(exchange, index);
                            if exchange.is_interrupted() {
                                return false;
                            }
                        }
                    }
                }
            }
            let action = if wants(exchange, index, callbacks(direction).headers) {
                self.show_headers(exchange, direction, index)
            } else {
                Ok(HeadersAction::Continue)
            };
            let pause = exchange
                .filters
                .get(index)
                .map_or(HeadersPause::StopAll, |filter| filter.plugin.settings.headers_pause);
            let hold = match action {
                Ok(HeadersAction::Continue) => Hold::None,
                Ok(HeadersAction::ContinueAndEndStream) => {
                    exchange.half(direction).outlet.head_end = true;
                    Hold::None
                }
                Ok(HeadersAction::Pause) if pause == HeadersPause::HeadersOnly => Hold::HeadersOnly,
                Ok(HeadersAction::Pause | HeadersAction::PauseAllAndWatermark) => Hold::AllAndWatermark,
                Ok(HeadersAction::PauseAllAndBuffer) => Hold::AllAndBuffer,
                Err(Gone) => {
                    fail(exchange, index);
                    Hold::None
                }
            };
            let Some(filter) = exchange.filters.get_mut(index) else { return false };
            let stage = filter.stage(direction);
            stage.headers_seen = true;
            stage.hold = hold;
            if hold == Hold::None {
                stage.resume = false;
                exchange.half(direction).outlet.head += 1;
                return true;
            }
        }
        let limit = exchange.limit;
        let Some(filter) = exchange.filters.get_mut(index) else { return false };
        let gone = filter.slot.as_ref().is_some_and(|slot| slot.is_condemned());
        let stage = filter.stage(direction);
        if std::mem::take(&mut stage.resume) {
            stage.hold = Hold::None;
            // One continue is for all that the filter holds: a body that it paused meanwhile goes on as well.
            stage.body_hold = BodyHold::None;
            exchange.half(direction).outlet.head += 1;
            return true;
        }
        if gone {
            stage.hold = Hold::None;
            fail(exchange, index);
            if !exchange.is_interrupted() {
                exchange.half(direction).outlet.head += 1;
                return true;
            }
            return false;
        }
        match stage.hold {
            Hold::HeadersOnly => true,
            Hold::AllAndBuffer if stage.inbox.len() > limit => {
                too_large(exchange, direction, index);
                false
            }
            _ => false,
        }
    }

    fn show_headers(&self, exchange: &mut Exchange, direction: Direction, index: usize) -> Result<HeadersAction, Gone> {
        let end = exchange.half(direction).outlet.head_end;
        let count = match direction {
            Direction::Request => fyke_engine::Map::len(&exchange.request_head),
            Direction::Response => exchange.response_head.as_ref().map_or(0, fyke_engine::Map::len),
        };
        chain::enter(self.env, exchange, index, |instance, call, context| match direction {
            Direction::Request => instance.on_request_headers(call, context, count, end),
            Direction::Response => instance.on_response_headers(call, context, count, end),
        })
    }

    /// Gives the stream an instance and a context of its own there.
    fn admit(&self, exchange: &mut Exchange, index: usize) -> Admitted {
        let Some(filter) = exchange.filters.get(index) else { return Admitted::No };
        let plugin = Rc::clone(&filter.plugin);
        let slot = match plugin.vm.acquire(self.env, self.waker) {
            Acquired::Ready(slot) => slot,
            Acquired::Wait => return Admitted::Wait,
            Acquired::Unavailable => return Admitted::No,
        };
        plugin.metrics.streams.inc();
        // The route may carry a configuration for this filter: then the stream stands under that one's context.
        let number = exchange
            .selection
            .as_ref()
            .and_then(|selection| selection.route.plugins.iter().find(|(name, _)| *name == plugin.settings.name))
            .map_or(plugin.index, |(_, number)| *number);
        let Some((root, _)) = slot.roots.get(number) else { return Admitted::No };
        let root = *root;
        let created = {
            let mut call = crate::wasm::call::Call::for_root(self.env, &plugin.vm, &slot);
            slot.enter(|instance| instance.create_stream(&mut call, root))
        };
        match created {
            Some(Ok(context)) => {
                slot.adopt(context, self.weak, index);
                if let Some(filter) = exchange.filters.get_mut(index) {
                    filter.context = context;
                    filter.root = root;
                    filter.slot = Some(slot);
                }
                Admitted::Yes
            }
            Some(Err(trap)) => {
                plugin.vm.trapped(&slot, self.env, &trap);
                Admitted::No
            }
            None => Admitted::No,
        }
    }

    /// Shows new bytes, and the end, to a filter that looks at bodies.
    fn body(&self, exchange: &mut Exchange, direction: Direction, position: usize, index: usize) {
        let wanted = wants(exchange, index, callbacks(direction).body);
        let limit = exchange.limit;
        let trailers = exchange.half(direction).trailers.is_some();
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        let gone = filter.slot.as_ref().is_some_and(|slot| slot.is_condemned());
        let stage = filter.stage(direction);
        let news = !stage.inbox.is_empty() || (stage.end && !stage.end_seen && !stage.trailers);
        if wanted && news && !stage.finished {
            let mut inbox = std::mem::take(&mut stage.inbox);
            stage.held.append(&mut inbox);
            let end = stage.end && !stage.trailers && !trailers;
            stage.end_seen = stage.end;
            let size = stage.held.len();
            let action = chain::enter(self.env, exchange, index, |instance, call, context| match direction {
                Direction::Request => instance.on_request_body(call, context, size, end),
                Direction::Response => instance.on_response_body(call, context, size, end),
            });
            let Some(filter) = exchange.filters.get_mut(index) else { return };
            let stage = filter.stage(direction);
            match action {
                Ok(DataAction::Continue) => {
                    stage.body_hold = BodyHold::None;
                    stage.resume = false;
                    release_head(exchange, direction, position, index);
                }
                Ok(DataAction::PauseAndBuffer) => stage.body_hold = BodyHold::Buffer,
                Ok(DataAction::PauseAndWatermark) => stage.body_hold = BodyHold::Watermark,
                Ok(DataAction::PauseNoBuffer) => {
                    stage.held.clear();
                    stage.body_hold = BodyHold::Watermark;
                }
                // `fail` decides by what the filter had held before this call.
                Err(Gone) => fail(exchange, index),
            }
        } else if gone && stage.body_hold != BodyHold::None {
            fail(exchange, index);
        }
        if exchange.is_interrupted() {
            return;
        }
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        let stage = filter.stage(direction);
        if stage.body_hold != BodyHold::None && std::mem::take(&mut stage.resume) {
            stage.body_hold = BodyHold::None;
            release_head(exchange, direction, position, index);
        } else if stage.body_hold == BodyHold::Buffer && stage.held.len() > limit {
            too_large(exchange, direction, index);
        }
    }

    /// Shows the trailers to a filter once it has seen the whole body.
    fn trailers(&self, exchange: &mut Exchange, direction: Direction, position: usize, index: usize) {
        let wanted = wants(exchange, index, callbacks(direction).trailers);
        let count = exchange.half(direction).trailers.as_ref().map_or(0, HeaderMap::len);
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        let stage = filter.stage(direction);
        if !stage.trailers || stage.finished {
            return;
        }
        if !stage.trailers_seen {
            stage.trailers_seen = true;
            if !wanted {
                return;
            }
            let action = chain::enter(self.env, exchange, index, |instance, call, context| match direction {
                Direction::Request => instance.on_request_trailers(call, context, count),
                Direction::Response => instance.on_response_trailers(call, context, count),
            });
            let Some(filter) = exchange.filters.get_mut(index) else { return };
            let stage = filter.stage(direction);
            match action {
                Ok(HeadersAction::Continue | HeadersAction::ContinueAndEndStream) => {
                    stage.body_hold = BodyHold::None;
                    release_head(exchange, direction, position, index);
                }
                // Held like a body: `continue_stream` lets everything go.
                Ok(_) => stage.body_hold = BodyHold::Watermark,
                Err(Gone) => fail(exchange, index),
            }
        }
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        let stage = filter.stage(direction);
        if stage.body_hold != BodyHold::None && std::mem::take(&mut stage.resume) {
            stage.body_hold = BodyHold::None;
            release_head(exchange, direction, position, index);
        }
    }

    /// Passes on what the filter does not hold.
    fn forward(&self, exchange: &mut Exchange, direction: Direction, position: usize, index: usize) {
        if exchange.half(direction).outlet.head <= position {
            return;
        }
        let wanted = wants(exchange, index, callbacks(direction).body);
        let last = position + 1 >= exchange.filters.len();
        let made_trailers = exchange.half(direction).trailers.is_some();
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        let stage = filter.stage(direction);
        if stage.body_hold != BodyHold::None || stage.finished {
            return;
        }
        stage.resume = false;
        let mut bytes = std::mem::take(&mut stage.held);
        if !wanted {
            bytes.append(&mut stage.inbox);
            stage.end_seen = stage.end;
        }
        let through = stage.end
            && stage.inbox.is_empty()
            && (stage.end_seen || stage.trailers)
            && (!stage.trailers || stage.trailers_seen);
        if through {
            stage.finished = true;
        }
        if last {
            let outlet = &mut exchange.half(direction).outlet;
            outlet.body.append(&mut bytes);
            outlet.end |= through;
        } else {
            exchange.push_into(direction, position + 1, |stage| {
                stage.inbox.append(&mut bytes);
                if through {
                    stage.end = true;
                    stage.trailers = made_trailers;
                }
            });
        }
    }
}

enum Admitted {
    Yes,
    Wait,
    No,
}

/// A filter that lets its body go lets its headers go first.
fn release_head(exchange: &mut Exchange, direction: Direction, position: usize, index: usize) {
    let outlet = &mut exchange.half(direction).outlet;
    if outlet.head == position {
        outlet.head += 1;
        if let Some(filter) = exchange.filters.get_mut(index) {
            filter.stage(direction).hold = Hold::None;
        }
    }
}

/// Applies `on_failure` to a stream whose filter is gone.
fn fail(exchange: &mut Exchange, index: usize) {
    let sent = exchange.response_sent;
    let Some(filter) = exchange.filters.get_mut(index) else { return };
    filter.plugin.metrics.failures.inc();
    let held = filter.request.body_hold != BodyHold::None || filter.response.body_hold != BodyHold::None;
    filter.skipped = true;
    if filter.plugin.settings.on_failure == OnFailure::Open && !filter.altered && !held {
        for stage in [&mut filter.request, &mut filter.response] {
            stage.hold = Hold::None;
        }
        return;
    }
    if sent {
        exchange.reset = true;
    } else {
        reply::by_host(exchange, http::StatusCode::SERVICE_UNAVAILABLE, "filter_failed", Some(index));
        if exchange.reply.is_none() {
            exchange.reset = true;
        }
    }
}

fn too_large(exchange: &mut Exchange, direction: Direction, index: usize) {
    if exchange.response_sent {
        exchange.details = "response_too_large".into();
        exchange.reset = true;
        return;
    }
    let (status, details) = match direction {
        Direction::Request => (http::StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
        Direction::Response => (http::StatusCode::BAD_GATEWAY, "response_too_large"),
    };
    reply::by_host(exchange, status, details, Some(index));
}
