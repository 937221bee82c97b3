//! The end of a stream: log, done, delete, in Envoy's order.

use std::rc::Rc;

use fyke_engine::{Callback, PeerKind};
use tokio::time::Instant;

use super::{
    chain::{enter, wants},
    failure::fail,
    pump::close_upstream,
};
use crate::wasm::{
    env::Env,
    exchange::{Exchange, FilterState, Kind},
    foreign, tap, trace,
};

/// Ends the stream; further calls do nothing.
pub fn finish(env: &Rc<Env>, exchange: &mut Exchange, now: Instant) {
    if std::mem::replace(&mut exchange.finished, true) {
        return;
    }
    exchange.ended = Some(now);
    count(exchange, now);
    if exchange.kind == Kind::Tcp {
        finish_tcp(env, exchange);
        trace::report(env.tracer.as_ref(), exchange, now);
        return;
    }
    exchange.logging = true;
    for index in 0..exchange.filters.len() {
        if wants(exchange, index, Callback::Log) {
            let _ = enter(env, exchange, index, |instance, call, context| instance.on_log(call, context));
        }
    }
    for index in 0..exchange.filters.len() {
        if exchange.filters.get(index).is_some_and(|filter| filter.slot.is_some() && !filter.stateless) {
            let _ = enter(env, exchange, index, |instance, call, context| {
                instance.on_done(call, context)?;
                instance.on_delete(call, context)
            });
        }
        leave(exchange, index);
    }
    tap::report(env, exchange);
    trace::report(env.tracer.as_ref(), exchange, now);
    exchange.wake();
}

/// Tells trials how the stream went.
fn count(exchange: &Exchange, now: Instant) {
    for filter in exchange.filters.iter().filter(|filter| filter.chosen) {
        let Some(tally) = filter.plugin.tally() else { continue };
        let failed = match exchange.kind {
            Kind::Http => exchange.response_head.as_ref().is_some_and(|head| head.status.is_server_error()),
            Kind::Tcp => exchange.upstream_failure.is_some(),
        };
        tally.ended(now.duration_since(exchange.started), failed || exchange.reset);
    }
}

/// The stream has nothing more to do with a filter's instance.
fn leave(exchange: &mut Exchange, index: usize) {
    if let Some(filter) = exchange.filters.get_mut(index)
        && let Some(slot) = filter.slot.take()
    {
        slot.forget(filter.context);
    }
}

/// The specification's order, which Envoy keeps for TCP: the closes, then done, log and delete, filter by filter.
fn finish_tcp(env: &Rc<Env>, exchange: &mut Exchange) {
    let connected = exchange.upstream.is_some();
    let peer = if exchange.closed_by_client { PeerKind::Remote } else { PeerKind::Local };
    for index in 0..exchange.filters.len() {
        let Some(filter) = exchange.filters.get_mut(index) else { continue };
        if filter.slot.is_none() {
            continue;
        }
        let stateless = filter.stateless;
        if connected && !std::mem::replace(&mut filter.upstream_closed, true) {
            let by = if exchange.closed_by_upstream { PeerKind::Remote } else { PeerKind::Local };
            close_upstream(env, exchange, index, by);
        }
        // A connection to an endpoint that was made fit to be lent had no client.
        let opening = exchange.opening.is_some();
        if !opening && wants(exchange, index, Callback::DownstreamConnectionClose) {
            let _ = enter(env, exchange, index, |instance, call, context| {
                instance.on_downstream_connection_close(call, context, peer)
            });
        }
        exchange.logging = true;
        let wants_log = !opening && wants(exchange, index, Callback::Log);
        let _ = enter(env, exchange, index, |instance, call, context| {
            if !stateless {
                instance.on_done(call, context)?;
            }
            if wants_log {
                instance.on_log(call, context)?;
            }
            if stateless { Ok(()) } else { instance.on_delete(call, context) }
        });
        exchange.logging = false;
        leave(exchange, index);
    }
    tap::report(env, exchange);
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
