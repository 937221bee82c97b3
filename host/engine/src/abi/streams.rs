//! What a guest does to the stream that it is on: continue, close, answer.
//!
//! The embedder records all of it and acts when the guest has returned.

use wasmtime::{Caller, Linker, Result};

use super::{ENV, OK, View, bytes, enter, give, pairs, write_u32};
use crate::host::LocalResponse;
use crate::state::State;
use crate::types::StreamKind;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_continue_stream", |mut caller: Caller<'_, State>, stream: u32| -> Result<i32> {
        let view = enter(&mut caller, "proxy_continue_stream")?;
        if let Some(stream) = StreamKind::from_abi(stream) {
            view.host.continue_stream(view.cx(), stream);
        }
        Ok(OK)
    })?;
    linker.func_wrap(ENV, "proxy_close_stream", |mut caller: Caller<'_, State>, stream: u32| -> Result<i32> {
        let view = enter(&mut caller, "proxy_close_stream")?;
        if let Some(stream) = StreamKind::from_abi(stream) {
            view.host.close_stream(view.cx(), stream);
        }
        Ok(OK)
    })?;
    linker.func_wrap(ENV, "proxy_send_local_response", local_response)?;
    linker.func_wrap(ENV, "proxy_get_status", status)?;
    // 0.1.0 only. Its specification forgot that they return a status.
    linker.func_wrap(ENV, "proxy_continue_request", |mut caller: Caller<'_, State>| -> Result<i32> {
        let view = enter(&mut caller, "proxy_continue_request")?;
        view.host.continue_stream(view.cx(), StreamKind::Request);
        Ok(OK)
    })?;
    linker.func_wrap(ENV, "proxy_continue_response", |mut caller: Caller<'_, State>| -> Result<i32> {
        let view = enter(&mut caller, "proxy_continue_response")?;
        view.host.continue_stream(view.cx(), StreamKind::Response);
        Ok(OK)
    })?;
    linker.func_wrap(ENV, "proxy_clear_route_cache", |mut caller: Caller<'_, State>| -> Result<i32> {
        let view = enter(&mut caller, "proxy_clear_route_cache")?;
        view.host.clear_route_cache(view.cx());
        Ok(OK)
    })?;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the ABI's")]
fn local_response(
    mut caller: Caller<'_, State>,
    status: u32,
    details: u32,
    details_length: u32,
    body: u32,
    body_length: u32,
    headers: u32,
    headers_length: u32,
    grpc_status: i32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_send_local_response")?;
    let details = bytes(memory, details, details_length)?;
    let body = bytes(memory, body, body_length)?;
    let headers = bytes(memory, headers, headers_length)?;
    let ([mut list, other], mut lower) = state.pairs.take();
    pairs::decode(headers, &mut list);
    pairs::lower_keys(&mut list, &mut lower);
    let grpc_status = u32::try_from(grpc_status).ok();
    let response = LocalResponse { status, details, body, headers: &list, grpc_status };
    host.send_local_response(state.effective, response);
    state.pairs.put_lists([list, other]);
    state.pairs.put_lower(lower);
    Ok(OK)
}

/// Code and message of the last callout.
fn status(mut caller: Caller<'_, State>, code_at: u32, address_at: u32, length_at: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_get_status")?;
    let mut message = state.take_scratch();
    let code = host.status(state.effective, &mut message);
    write_u32(memory, code_at, code)?;
    give(&mut caller, message, address_at, length_at)?;
    Ok(OK)
}
