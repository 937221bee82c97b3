//! Callbacks that a configuration has no use for.

use std::any::TypeId;

use crate::abi;
use crate::filter::{HttpFilter, Present};

/// Tells the host. Others than Fyke do not know the function, and call. `alone`: the module has no connections, whose contexts it
/// would miss.
pub(super) fn tell<F: HttpFilter + Present>(filter: &F, alone: bool) {
    let present = F::CALLBACKS;
    let request = present.on_request && !present.on_request_with_body && !filter.wants_request();
    let response = present.on_response && !present.on_response_with_body && !filter.wants_response();
    let request_chunks = present.on_request_chunk && !filter.wants_request_chunks();
    let response_chunks = present.on_response_chunk && !filter.wants_response_chunks();
    let log = present.on_log && !filter.wants_log();
    // A `Ctx` that no second method sees need not be kept.
    let methods = [present.on_request && !request, present.on_response && !response, present.on_reroute];
    let several = methods.into_iter().filter(|called| *called).count() > 1;
    let keeps = TypeId::of::<F::Ctx>() != TypeId::of::<()>() && several && filter.keeps_ctx();
    let names: Vec<&str> = [
        (request, "request_headers"),
        (request_chunks, "request_body,request_trailers"),
        (response, "response_headers"),
        (response_chunks, "response_body,response_trailers"),
        (log, "log"),
        (present.sees_heads_only() && !keeps && alone, "context_create"),
    ]
    .into_iter()
    .filter_map(|(skipped, name)| skipped.then_some(name))
    .collect();
    if !names.is_empty() {
        let _ = abi::call_foreign_function("fyke.callbacks.skip.v1", names.join(",").as_bytes());
    }
}
