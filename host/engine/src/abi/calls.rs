//! Callouts over HTTP and gRPC.
//!
//! The place for the token is checked before the call is made, so that a guest with a bad pointer leaves none behind.

use std::time::Duration;

use wasmtime::{Caller, Linker, Result};

use super::pairs::{self, Pair};
use super::{BAD_ARGUMENT, ENV, OK, View, bytes, enter, safe, write_u32};
use crate::host::{GrpcCall, HttpCall};
use crate::state::State;
use crate::types::Status;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_http_call", http_call)?;
    linker.func_wrap(ENV, "proxy_grpc_call", grpc_call)?;
    linker.func_wrap(ENV, "proxy_grpc_stream", grpc_stream)?;
    linker.func_wrap(ENV, "proxy_grpc_send", grpc_send)?;
    linker.func_wrap(ENV, "proxy_grpc_cancel", |mut caller: Caller<'_, State>, token: u32| -> Result<i32> {
        let view = enter(&mut caller, "proxy_grpc_cancel")?;
        let status = view.host.grpc_cancel(view.cx(), token);
        Ok(safe(status, &[], Status::NotFound))
    })?;
    linker.func_wrap(ENV, "proxy_grpc_close", |mut caller: Caller<'_, State>, token: u32| -> Result<i32> {
        let view = enter(&mut caller, "proxy_grpc_close")?;
        let status = view.host.grpc_close(view.cx(), token);
        Ok(safe(status, &[], Status::NotFound))
    })?;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the ABI's")]
fn http_call(
    mut caller: Caller<'_, State>,
    cluster: u32,
    cluster_length: u32,
    headers: u32,
    headers_length: u32,
    body: u32,
    body_length: u32,
    trailers: u32,
    trailers_length: u32,
    timeout: i32,
    token_at: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_http_call")?;
    bytes(memory, token_at, 4)?;
    let cluster = bytes(memory, cluster, cluster_length)?;
    let headers = bytes(memory, headers, headers_length)?;
    let body = bytes(memory, body, body_length)?;
    let trailers = bytes(memory, trailers, trailers_length)?;
    let Ok(timeout) = u64::try_from(timeout) else { return Ok(BAD_ARGUMENT) };

    let ([mut header_list, mut trailer_list], mut lower) = state.pairs.take();
    pairs::decode(headers, &mut header_list);
    pairs::decode(trailers, &mut trailer_list);
    pairs::lower_keys(&mut header_list, &mut lower);
    let result = if is_request(&header_list) {
        let (headers, trailers) = (header_list.as_slice(), trailer_list.as_slice());
        host.http_call(state.effective, HttpCall { cluster, headers, body, trailers, timeout: duration(timeout) })
    } else {
        Err(Status::BadArgument)
    };
    state.pairs.put_lists([header_list, trailer_list]);
    state.pairs.put_lower(lower);
    match result {
        Ok(token) => {
            write_u32(memory, token_at, token)?;
            Ok(OK)
        }
        Err(status) => Ok(failed(status, Status::BadArgument)),
    }
}

/// Whether the three pseudo headers are there without which there is no request.
fn is_request(headers: &[Pair<'_>]) -> bool {
    let required: [&[u8]; 3] = [b":method", b":path", b":authority"];
    required.iter().all(|name| headers.iter().any(|(key, value)| key == name && !value.is_empty()))
}

#[expect(clippy::too_many_arguments, reason = "the ABI's")]
fn grpc_call(
    caller: Caller<'_, State>,
    cluster: u32,
    cluster_length: u32,
    service: u32,
    service_length: u32,
    method: u32,
    method_length: u32,
    metadata: u32,
    metadata_length: u32,
    message: u32,
    message_length: u32,
    timeout: i32,
    token_at: u32,
) -> Result<i32> {
    let call = Grpc {
        cluster: (cluster, cluster_length),
        service: (service, service_length),
        method: (method, method_length),
        metadata: (metadata, metadata_length),
        message: Some((message, message_length)),
        timeout: duration(u64::try_from(timeout).unwrap_or(0)),
    };
    start_grpc(caller, "proxy_grpc_call", &call, token_at)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's")]
fn grpc_stream(
    caller: Caller<'_, State>,
    cluster: u32,
    cluster_length: u32,
    service: u32,
    service_length: u32,
    method: u32,
    method_length: u32,
    metadata: u32,
    metadata_length: u32,
    token_at: u32,
) -> Result<i32> {
    let call = Grpc {
        cluster: (cluster, cluster_length),
        service: (service, service_length),
        method: (method, method_length),
        metadata: (metadata, metadata_length),
        message: None,
        timeout: None,
    };
    start_grpc(caller, "proxy_grpc_stream", &call, token_at)
}

/// The arguments of both, as places in guest memory.
struct Grpc {
    cluster: (u32, u32),
    service: (u32, u32),
    method: (u32, u32),
    metadata: (u32, u32),
    message: Option<(u32, u32)>,
    timeout: Option<Duration>,
}

fn start_grpc(mut caller: Caller<'_, State>, hostcall: &'static str, call: &Grpc, token_at: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, hostcall)?;
    bytes(memory, token_at, 4)?;
    let cluster = bytes(memory, call.cluster.0, call.cluster.1)?;
    let service = bytes(memory, call.service.0, call.service.1)?;
    let method = bytes(memory, call.method.0, call.method.1)?;
    let metadata = bytes(memory, call.metadata.0, call.metadata.1)?;
    let message = call.message.map(|(address, length)| bytes(memory, address, length)).transpose()?;

    let ([mut list, other], mut lower) = state.pairs.take();
    pairs::decode(metadata, &mut list);
    pairs::lower_keys(&mut list, &mut lower);
    let call = GrpcCall { cluster, service, method, metadata: &list, message, timeout: call.timeout };
    let result = host.grpc_call(state.effective, call);
    state.pairs.put_lists([list, other]);
    state.pairs.put_lower(lower);
    match result {
        Ok(token) => {
            write_u32(memory, token_at, token)?;
            Ok(OK)
        }
        Err(status) => Ok(failed(status, Status::ParseFailure)),
    }
}

fn grpc_send(mut caller: Caller<'_, State>, token: u32, address: u32, length: u32, end_of_stream: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_grpc_send")?;
    let message = bytes(memory, address, length)?;
    let status = host.grpc_send(state.effective, token, message, end_of_stream != 0);
    Ok(safe(status, &[Status::BadArgument, Status::NotFound], Status::NotFound))
}

fn duration(milliseconds: u64) -> Option<Duration> {
    (milliseconds != 0).then(|| Duration::from_millis(milliseconds))
}

/// A failure that the SDK survives: `known` or an internal one, and never success without a token.
fn failed(status: Status, known: Status) -> i32 {
    (if status == known { known } else { Status::InternalFailure }) as i32
}
