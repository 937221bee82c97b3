//! What goes on behind a filter: what it lets go, what it does not want to see, what it has let go of what it holds.

use super::{
    chain::{callbacks, wants},
    failure::release_head,
    pump::Place,
};
use crate::wasm::{
    exchange::{BodyHold, Exchange},
    rope::Rope,
};

/// Lets go of what a filter held and was told to let go. Returns whether there was such a thing.
pub(super) fn resume(exchange: &mut Exchange, Place { direction, index, .. }: Place) -> bool {
    let Some(filter) = exchange.filters.get_mut(index) else { return false };
    let stage = filter.stage(direction);
    let held = stage.body_hold != BodyHold::None && std::mem::take(&mut stage.resume);
    if held {
        // All of it goes on: what it has let go beyond that goes on unseen.
        let more = std::mem::take(&mut stage.pass).saturating_sub(stage.held.len() as u64);
        stage.skip = stage.skip.saturating_add(more);
        stage.body_hold = BodyHold::None;
        release_head(exchange, direction, index);
    }
    held
}

/// Passes on what the filter has let go of what it holds. What it has let go beyond that is passed on unseen.
pub(super) fn pass_on(exchange: &mut Exchange, Place { direction, position, index }: Place) {
    if exchange.half(direction).outlet.head <= position {
        return;
    }
    let last = position + 1 >= exchange.filters.len();
    let Some(filter) = exchange.filters.get_mut(index) else { return };
    let stage = filter.stage(direction);
    let count = std::mem::take(&mut stage.pass);
    if count == 0 || stage.finished {
        return;
    }
    let mut bytes = Rope::default();
    let moved = stage.held.move_front(count, &mut bytes);
    stage.skip = stage.skip.saturating_add(count - moved);
    if stage.held.is_empty() {
        stage.body_hold = BodyHold::None;
    }
    if last {
        exchange.half(direction).outlet.body.append(&mut bytes);
    } else {
        exchange.push_into(direction, position + 1, |stage| stage.inbox.append(&mut bytes));
    }
}

/// Drops what was on its way to a connection that is gone.
pub(super) fn drop_lost(exchange: &mut Exchange, Place { direction, index, .. }: Place) {
    let Some(filter) = exchange.filters.get_mut(index) else { return };
    let stage = filter.stage(direction);
    if stage.lost > 0 && !stage.inbox.is_empty() {
        stage.lost -= stage.inbox.move_front(stage.lost, &mut Rope::default());
    }
}

/// What the filter holds becomes news again, where it wants to see it once more.
pub(super) fn show_again(exchange: &mut Exchange, Place { direction, index, .. }: Place) {
    let Some(filter) = exchange.filters.get_mut(index) else { return };
    let stage = filter.stage(direction);
    if !std::mem::take(&mut stage.again) || stage.held.is_empty() || stage.finished {
        return;
    }
    let mut held = std::mem::take(&mut stage.held);
    held.append(&mut stage.inbox);
    stage.inbox = held;
    stage.body_hold = BodyHold::None;
    // The end was shown with it.
    stage.end_seen = false;
}

/// Passes on what the filter does not want to see, unless it holds something that comes first.
pub(super) fn pass_unseen(exchange: &mut Exchange, place: Place) {
    if exchange.half(place.direction).outlet.head <= place.position {
        return;
    }
    let Some(filter) = exchange.filters.get_mut(place.index) else { return };
    let stage = filter.stage(place.direction);
    if stage.skip > 0 && stage.body_hold == BodyHold::None && !stage.inbox.is_empty() {
        let mut inbox = std::mem::take(&mut stage.inbox);
        stage.skip -= inbox.move_front(stage.skip, &mut stage.held);
        stage.inbox = inbox;
        forward(exchange, place);
    }
}

/// Passes on what the filter does not hold.
pub(super) fn forward(exchange: &mut Exchange, Place { direction, position, index }: Place) {
    if exchange.half(direction).outlet.head <= position {
        return;
    }
    let wanted = wants(exchange, index, callbacks(exchange.kind, direction).body);
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
