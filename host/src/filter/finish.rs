//! The end of a stream: log, done, delete, in Envoy's order.

use std::rc::Rc;

use fyke_engine::Callback;
use tokio::time::Instant;

use super::{
    chain::{enter, wants},
    failure::fail,
};
use crate::wasm::{
    env::Env,
    exchange::{Exchange, FilterState},
    foreign,
};

/// Ends the stream; further calls do nothing.
pub fn finish(env: &Rc<Env>, exchange: &mut Exchange, now: Instant) {
    if std::mem::replace(&mut exchange.finished, true) {
        return;
    }
    exchange.ended = Some(now);
    exchange.logging = true;
    for index in 0..exchange.filters.len() {
        if wants(exchange, index, Callback::Log) {
            let _ = enter(env, exchange, index, |instance, call, context| instance.on_log(call, context));
        }
    }
    for index in 0..exchange.filters.len() {
        let Some(filter) = exchange.filters.get_mut(index) else { continue };
        if filter.stateless {
            if let Some(slot) = filter.slot.take() {
                slot.serve();
            }
            continue;
        }
        if filter.slot.is_none() {
            continue;
        }
        let _ = enter(env, exchange, index, |instance, call, context| {
            instance.on_done(call, context)?;
            instance.on_delete(call, context)
        });
        if let Some(filter) = exchange.filters.get_mut(index)
            && let Some(slot) = filter.slot.take()
        {
            slot.forget(filter.context);
        }
    }
    exchange.wake();
}

/// Asks the filter that routed for a new decision, where another filter cleared the old one.
pub fn route_again(env: &Rc<Env>, exchange: &mut Exchange) {
    if !std::mem::take(&mut exchange.route_cleared) {
        return;
    }
    let Some(by) = exchange.selection.as_ref().map(|selection| selection.by) else { return };
    let gone = |filter: &FilterState| filter.slot.as_ref().is_some_and(|slot| slot.is_condemned());
    if exchange.filters.get(by).is_some_and(gone) {
        fail(exchange, by);
    } else if wants(exchange, by, Callback::ForeignFunction) {
        let asked = enter(env, exchange, by, |instance, call, context| {
            instance.on_foreign_function(call, context, foreign::ROUTE_AGAIN, &[])
        });
        if asked.is_err() {
            fail(exchange, by);
        }
    }
}
