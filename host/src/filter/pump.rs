//! Moves a message through the filters of one direction.
//!
//! Each filter has a [`Stage`](crate::wasm::exchange::Stage) with an inbox. [`Pump::run`] walks the stages in order and lets each
//! do what it can: show the headers, show new bytes, pass on what is not held. Data reaches a stage only after the
//! headers did, trailers only after the data, so one walk from the front settles everything: until something new arrives or a
//! filter is told to go on, walking again would find nothing to do.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    task::Waker,
};

use fyke_engine::{Callback, DataAction, HeadersAction, PeerKind};
use http::HeaderMap;

use super::{
    chain::{self, Gone, callbacks, wants},
    failure::{fail, release_head, too_large},
    pass::{drop_lost, forward, pass_on, pass_unseen, resume, show_again},
};
use crate::{
    config::resolved::HeadersPause,
    wasm::{
        env::Env,
        exchange::{BodyHold, Direction, Exchange, Hold, Kind},
        foreign,
        trial::Side,
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

/// A filter's place in the walk.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub direction: Direction,
    /// Number in the direction's order.
    pub position: usize,
    /// Number in the chain.
    pub index: usize,
}

impl Pump<'_> {
    /// Lets every filter of a direction do what it can now.
    pub fn run(&self, exchange: &mut Exchange, direction: Direction) {
        let half = exchange.half(direction);
        if !half.outlet.started || half.settled {
            return;
        }
        half.settled = true;
        for position in 0..exchange.filters.len() {
            if exchange.half(direction).outlet.head < position {
                return;
            }
            self.advance(exchange, Place { direction, position, index: exchange.index(direction, position) });
            if exchange.is_interrupted() {
                return;
            }
        }
    }

    fn advance(&self, exchange: &mut Exchange, place: Place) {
        if exchange.half(place.direction).outlet.head == place.position && !self.headers(exchange, place) {
            return;
        }
        let Some(filter) = exchange.filters.get_mut(place.index) else { return };
        let stage = filter.stage(place.direction);
        if stage.is_idle() {
            // Nothing is held: a continue that came meanwhile was for nothing, and not for the next pause.
            stage.resume = false;
            return;
        }
        if exchange.is_interrupted() {
            return;
        }
        self.body(exchange, place);
        if exchange.is_interrupted() {
            return;
        }
        self.trailers(exchange, place);
        if exchange.is_interrupted() {
            return;
        }
        forward(exchange, place);
        if exchange.kind == Kind::Tcp && place.direction == Direction::Response {
            self.upstream_closed(exchange, place.index);
        }
    }

    /// Tells a filter that nothing more comes from upstream, once it has seen the last of it.
    fn upstream_closed(&self, exchange: &mut Exchange, index: usize) {
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        if filter.response.end_seen && !std::mem::replace(&mut filter.upstream_closed, true) {
            close_upstream(self.env, exchange, index, PeerKind::Remote);
        }
    }

    /// Shows the headers to a filter. Returns whether the body may flow to it.
    fn headers(&self, exchange: &mut Exchange, place: Place) -> bool {
        let Place { direction, index, .. } = place;
        let Some(filter) = exchange.filters.get_mut(index) else { return false };
        if !filter.stage(direction).headers_seen && !self.first_headers(exchange, place) {
            return false;
        }
        let limit = exchange.limit;
        let Some(filter) = exchange.filters.get_mut(index) else { return false };
        let gone = filter.slot.as_ref().is_some_and(|slot| slot.is_condemned());
        let stage = filter.stage(direction);
        if stage.hold == Hold::None {
            // Not held, or seen before an answer was replaced by a local reply: the head goes on.
            stage.resume = false;
            exchange.leaves(direction, index);
            exchange.half(direction).outlet.head += 1;
            return true;
        }
        if std::mem::take(&mut stage.resume) {
            // One continue is for all that the filter holds: a body that it paused meanwhile goes on as well.
            stage.body_hold = BodyHold::None;
            release_head(exchange, direction, index);
            return true;
        }
        if gone {
            fail(exchange, index);
            return !exchange.is_interrupted();
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

    /// Shows the headers to a filter that has not seen them. `false`: the walk ends here for now.
    fn first_headers(&self, exchange: &mut Exchange, Place { direction, index, .. }: Place) -> bool {
        let Some(filter) = exchange.filters.get_mut(index) else { return false };
        if filter.slot.is_none() && !filter.skipped {
            if direction == Direction::Response {
                // It has never met this stream: the answer came from outside of it.
                filter.skipped = true;
            } else {
                match self.admit(exchange, index) {
                    Admitted::Yes => {}
                    Admitted::Wait => {
                        exchange.half(direction).settled = false;
                        return false;
                    }
                    Admitted::No => {
                        fail(exchange, index);
                        if exchange.is_interrupted() {
                            return false;
                        }
                    }
                }
            }
        }
        exchange.enters(direction, index);
        if direction == Direction::Request {
            super::explain::ask(self.env, exchange, index);
        }
        let action = if wants(exchange, index, callbacks(exchange.kind, direction).begin) {
            if let Some(filter) = exchange.filters.get_mut(index) {
                // A continue that came before there was anything to hold is for nothing.
                filter.stage(direction).resume = false;
            }
            self.show_headers(exchange, direction, index)
        } else {
            Ok(HeadersAction::Continue)
        };
        let pause = exchange.filters.get(index).map_or(HeadersPause::StopAll, |filter| filter.plugin.headers_pause);
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
        let stateless = filter.stateless;
        let stage = filter.stage(direction);
        stage.headers_seen = true;
        stage.hold = hold;
        // Nobody could let it go on again.
        if stateless && hold != Hold::None && !stage.resume && !exchange.is_interrupted() {
            fail(exchange, index);
        }
        !exchange.is_interrupted()
    }

    fn show_headers(&self, exchange: &mut Exchange, direction: Direction, index: usize) -> Result<HeadersAction, Gone> {
        if let Some(opening) = &exchange.opening {
            // It is no client's.
            let event = opening.event.clone();
            return chain::enter(self.env, exchange, index, |instance, call, context| {
                instance.on_foreign_function(call, context, foreign::OPENED, &event)
            })
            .map(|()| HeadersAction::Continue);
        }
        if exchange.kind == Kind::Tcp {
            let action = chain::enter(self.env, exchange, index, |instance, call, context| {
                instance.on_new_connection(call, context)
            });
            return action.map(|action| match action {
                DataAction::Continue => HeadersAction::Continue,
                _ => HeadersAction::PauseAllAndWatermark,
            });
        }
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
        choose(exchange, index);
        let Some(filter) = exchange.filters.get(index) else { return Admitted::No };
        let plugin = Rc::clone(&filter.plugin);
        let slot = match plugin.vm.acquire(self.waker) {
            Acquired::Ready(slot) => match plugin.vm.for_stream(&slot) {
                Some(slot) => slot,
                None => return Admitted::No,
            },
            Acquired::Wait => return Admitted::Wait,
            Acquired::Unavailable => return Admitted::No,
        };
        plugin.metrics.streams.bump();
        // The route may carry a configuration for this filter: then the stream stands under that one's context.
        let number = exchange
            .selection
            .as_ref()
            .and_then(|selection| selection.route.plugins.iter().find(|(name, _)| *name == plugin.settings.name))
            .map_or(plugin.index, |(_, number)| *number);
        let Some(root) = slot.roots.get(number) else { return Admitted::No };
        let Some(filter) = exchange.filters.get_mut(index) else { return Admitted::No };
        filter.callbacks = plugin.callbacks.without(root.skips);
        let stateless = !root.has_stream_contexts();
        let root = root.context;
        if stateless {
            filter.stateless = true;
            filter.context = root;
            filter.root = root;
            filter.slot = Some(slot);
            return Admitted::Yes;
        }
        let created = {
            let mut call = crate::wasm::call::Call::for_new_stream(self.env, &plugin.vm, &slot, root);
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
    fn body(&self, exchange: &mut Exchange, place: Place) {
        let Place { direction, index, .. } = place;
        let wanted = wants(exchange, index, callbacks(exchange.kind, direction).body);
        let limit = exchange.limit;
        let trailers = exchange.half(direction).trailers.is_some();
        if resume(exchange, place) {
            // What it let go was shown to it already: it must not be counted again with what is new.
            forward(exchange, place);
        }
        pass_on(exchange, place);
        drop_lost(exchange, place);
        pass_unseen(exchange, place);
        show_again(exchange, place);
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        let gone = filter.slot.as_ref().is_some_and(|slot| slot.is_condemned());
        let stage = filter.stage(direction);
        let news = !stage.inbox.is_empty() || (stage.end && !stage.end_seen && !stage.trailers);
        if wanted && news && !stage.finished {
            let mut inbox = std::mem::take(&mut stage.inbox);
            // Shown with what is held, they are not skipped afterwards.
            stage.skip = stage.skip.saturating_sub(inbox.len() as u64);
            stage.held.append(&mut inbox);
            let end = stage.end && !stage.trailers && !trailers;
            stage.end_seen = stage.end;
            stage.resume = false;
            let size = stage.held.len();
            let kind = exchange.kind;
            let action = chain::enter(self.env, exchange, index, |instance, call, context| match (kind, direction) {
                (Kind::Http, Direction::Request) => instance.on_request_body(call, context, size, end),
                (Kind::Http, Direction::Response) => instance.on_response_body(call, context, size, end),
                (Kind::Tcp, Direction::Request) => instance.on_downstream_data(call, context, size, end),
                (Kind::Tcp, Direction::Response) => instance.on_upstream_data(call, context, size, end),
            });
            let Some(filter) = exchange.filters.get_mut(index) else { return };
            let stage = filter.stage(direction);
            match action {
                Ok(DataAction::Continue) => {
                    // All of it goes on; what it has let go beyond that goes on unseen.
                    let more = std::mem::take(&mut stage.pass).saturating_sub(stage.held.len() as u64);
                    stage.skip = stage.skip.saturating_add(more);
                    stage.body_hold = BodyHold::None;
                    stage.resume = false;
                    release_head(exchange, direction, index);
                }
                // Bytes have no end that a filter could wait for: the sender waits where it holds enough of them.
                Ok(DataAction::PauseAndBuffer) if kind == Kind::Tcp => stage.body_hold = BodyHold::Watermark,
                Ok(DataAction::PauseAndBuffer) => stage.body_hold = BodyHold::Buffer,
                Ok(DataAction::PauseAndWatermark) => stage.body_hold = BodyHold::Watermark,
                Ok(DataAction::PauseNoBuffer) => {
                    stage.held.clear();
                    stage.body_hold = BodyHold::Watermark;
                    filter.altered = true;
                    exchange.half(direction).lossy = true;
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
        resume(exchange, place);
        pass_on(exchange, place);
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        let stateless = filter.stateless;
        let stage = filter.stage(direction);
        if stateless && stage.body_hold != BodyHold::None && stage.end_seen && !stage.trailers {
            fail(exchange, index);
        } else if stage.body_hold == BodyHold::Buffer && stage.held.len() > limit {
            too_large(exchange, direction, index);
        }
    }

    /// Shows the trailers to a filter once it has seen the whole body.
    fn trailers(&self, exchange: &mut Exchange, place: Place) {
        let Place { direction, index, .. } = place;
        let wanted = wants(exchange, index, callbacks(exchange.kind, direction).trailers);
        let count = exchange.half(direction).trailers.as_ref().map_or(0, HeaderMap::len);
        let Some(filter) = exchange.filters.get_mut(index) else { return };
        let stage = filter.stage(direction);
        if !stage.trailers || stage.finished {
            return;
        }
        if !stage.trailers_seen {
            stage.trailers_seen = true;
            stage.resume = false;
            if !wanted {
                return;
            }
            let action = chain::enter(self.env, exchange, index, |instance, call, context| match direction {
                Direction::Request => instance.on_request_trailers(call, context, count),
                Direction::Response => instance.on_response_trailers(call, context, count),
            });
            let Some(filter) = exchange.filters.get_mut(index) else { return };
            let stateless = filter.stateless;
            let stage = filter.stage(direction);
            match action {
                Ok(HeadersAction::Continue | HeadersAction::ContinueAndEndStream) => {
                    stage.body_hold = BodyHold::None;
                    release_head(exchange, direction, index);
                }
                Ok(_) if stateless => fail(exchange, index),
                // Held like a body: `continue_stream` lets everything go.
                Ok(_) => stage.body_hold = BodyHold::Watermark,
                Err(Gone) => fail(exchange, index),
            }
        }
        resume(exchange, place);
    }
}

/// Decides which version of a filter a stream meets, the first time that it gets there.
fn choose(exchange: &mut Exchange, index: usize) {
    let Some(filter) = exchange.filters.get_mut(index) else { return };
    let Some((Side::Stable, trial)) = &filter.plugin.trial else { return };
    if std::mem::replace(&mut filter.chosen, true) {
        return;
    }
    let id = fyke_engine::Map::get(&exchange.request_head, b"x-request-id").filter(|id| !id.is_empty());
    if trial.takes(id)
        && let Some(canary) = &filter.plugin.canary
    {
        filter.plugin = Rc::clone(canary);
    }
}

/// Tells a filter who closed the upstream connection. What a trap means, whoever comes next finds out.
pub(crate) fn close_upstream(env: &Rc<Env>, exchange: &mut Exchange, index: usize, peer: PeerKind) {
    if wants(exchange, index, Callback::UpstreamConnectionClose) {
        let _ = chain::enter(env, exchange, index, |instance, call, context| {
            instance.on_upstream_connection_close(call, context, peer)
        });
    }
}

enum Admitted {
    Yes,
    Wait,
    No,
}
