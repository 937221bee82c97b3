//! Filters are asked to explain what they are about to do, where somebody wants to know.

use std::rc::Rc;

use fyke_engine::Callback;

use super::chain::{enter, wants};
use crate::wasm::{
    env::Env,
    exchange::{Exchange, Kind},
    foreign, tap,
};

/// Before a filter is shown the head of a request. It answers with `fyke.explain.v1`, or not.
pub(super) fn ask(env: &Rc<Env>, exchange: &mut Exchange, index: usize) {
    let asks = exchange.kind == Kind::Http && tap::asks(env, exchange);
    if asks && wants(exchange, index, Callback::ForeignFunction) {
        // Whoever traps here is found out at the next call.
        let _ = enter(env, exchange, index, |instance, call, context| {
            instance.on_foreign_function(call, context, foreign::EXPLAIN, &[])
        });
    }
}
