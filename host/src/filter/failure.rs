//! What a stream meets when a filter fails, or holds more than it may.

use http::StatusCode;

use super::reply;
use crate::{
    config::resolved::OnFailure,
    wasm::exchange::{BodyHold, Direction, Exchange, Hold},
};

/// Applies `on_failure` to a stream whose filter is gone.
pub(crate) fn fail(exchange: &mut Exchange, index: usize) {
    let sent = exchange.response_sent;
    let Some(filter) = exchange.filters.get_mut(index) else { return };
    filter.plugin.metrics.failures.inc();
    if let Some(tally) = filter.plugin.tally() {
        tally.failed();
    }
    let held = filter.request.body_hold != BodyHold::None || filter.response.body_hold != BodyHold::None;
    filter.skipped = true;
    if filter.plugin.settings.on_failure == OnFailure::Open && !filter.altered && !held {
        for direction in [Direction::Request, Direction::Response] {
            release_head(exchange, direction, index);
        }
        // The other direction may have waited for this filter.
        exchange.wake();
        return;
    }
    if sent {
        exchange.reset = true;
    } else {
        answer_or_reset(exchange, StatusCode::SERVICE_UNAVAILABLE, "filter_failed", index);
    }
}

/// Answers in a filter's place, or cuts the stream off where that place may not answer any more.
fn answer_or_reset(exchange: &mut Exchange, status: StatusCode, details: &'static str, index: usize) {
    reply::by_host(exchange, status, details, Some(index));
    if exchange.reply.is_none() {
        exchange.reset = true;
    }
}

/// Lets the headers go where this filter has seen and held them.
pub(super) fn release_head(exchange: &mut Exchange, direction: Direction, index: usize) {
    let position = exchange.index(direction, index);
    let Some(filter) = exchange.filters.get_mut(index) else { return };
    let stage = filter.stage(direction);
    if !stage.headers_seen {
        return;
    }
    stage.hold = Hold::None;
    exchange.leaves(direction, index);
    let outlet = &mut exchange.half(direction).outlet;
    if outlet.started && outlet.head == position {
        outlet.head += 1;
    }
}

/// A filter holds more of a body than `limits.buffer`.
pub(super) fn too_large(exchange: &mut Exchange, direction: Direction, index: usize) {
    if exchange.response_sent {
        exchange.details = "response_too_large".into();
        exchange.reset = true;
        return;
    }
    let (status, details) = match direction {
        Direction::Request => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
        Direction::Response => (StatusCode::BAD_GATEWAY, "response_too_large"),
    };
    answer_or_reset(exchange, status, details, index);
}
