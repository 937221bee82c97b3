//! Logging, time, timers, contexts, properties and foreign functions.

use std::time::Duration;

use wasmtime::{Caller, Linker, Result};

use super::{BAD_ARGUMENT, ENV, OK, View, bytes, enter, enter_always, give, safe, write_u32, write_u64};
use crate::state::State;
use crate::types::{ContextId, LogLevel, Status};

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_log", log)?;
    linker.func_wrap(ENV, "proxy_get_log_level", |mut caller: Caller<'_, State>, level_at: u32| -> Result<i32> {
        let view = enter(&mut caller, "proxy_get_log_level")?;
        write_u32(view.memory, level_at, view.host.log_level() as u32)?;
        Ok(OK)
    })?;
    linker.func_wrap(
        ENV,
        "proxy_get_current_time_nanoseconds",
        |mut caller: Caller<'_, State>, time_at: u32| -> Result<i32> {
            let view = enter(&mut caller, "proxy_get_current_time_nanoseconds")?;
            write_u64(view.memory, time_at, view.host.now())?;
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_set_tick_period_milliseconds",
        |mut caller: Caller<'_, State>, period: u32| -> Result<i32> {
            let View { state, host, .. } = enter(&mut caller, "proxy_set_tick_period_milliseconds")?;
            let period = (period != 0).then(|| Duration::from_millis(u64::from(period)));
            host.set_tick_period(state.contexts.root(state.effective), period);
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_set_effective_context",
        |mut caller: Caller<'_, State>, context: u32| -> Result<i32> {
            let View { state, .. } = enter(&mut caller, "proxy_set_effective_context")?;
            if !state.contexts.contains(ContextId(context)) {
                return Ok(BAD_ARGUMENT);
            }
            state.effective = ContextId(context);
            Ok(OK)
        },
    )?;
    linker.func_wrap(ENV, "proxy_done", |mut caller: Caller<'_, State>| -> Result<i32> {
        let view = enter(&mut caller, "proxy_done")?;
        // The official SDK panics on the NOT_FOUND that the specification has for a context that is not waiting.
        let _ = view.host.done(view.cx());
        Ok(OK)
    })?;
    linker.func_wrap(ENV, "proxy_get_property", property)?;
    linker.func_wrap(ENV, "proxy_set_property", set_property)?;
    linker.func_wrap(ENV, "proxy_call_foreign_function", foreign_function)?;
    // Emscripten's allocators call this when they grow the memory, so it is permitted always and does not enter.
    linker.func_wrap(ENV, "emscripten_notify_memory_growth", |_memory: u32| {})?;
    Ok(())
}

/// A level that does not exist is logged as information: the official SDK panics when told.
fn log(mut caller: Caller<'_, State>, level: u32, address: u32, length: u32) -> Result<i32> {
    let View { memory, state, host } = enter_always(&mut caller)?;
    let message = bytes(memory, address, length)?;
    host.log(state.effective, LogLevel::from_abi(level).unwrap_or(LogLevel::Info), message);
    Ok(OK)
}

fn property(
    mut caller: Caller<'_, State>,
    path: u32,
    path_length: u32,
    address_at: u32,
    length_at: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_get_property")?;
    let path = bytes(memory, path, path_length)?;
    let mut value = state.take_scratch();
    match host.property(state.effective, path, &mut value) {
        Status::Ok => {
            give(&mut caller, value, address_at, length_at)?;
            Ok(OK)
        }
        status => {
            state.put_scratch(value);
            Ok(safe(status, &[Status::SerializationFailure, Status::InternalFailure], Status::NotFound))
        }
    }
}

fn set_property(
    mut caller: Caller<'_, State>,
    path: u32,
    path_length: u32,
    value: u32,
    value_length: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_set_property")?;
    let path = bytes(memory, path, path_length)?;
    let value = bytes(memory, value, value_length)?;
    host.set_property(state.effective, path, value);
    Ok(OK)
}

/// Guests that do not want the result pass null for its place, as Envoy allows.
fn foreign_function(
    mut caller: Caller<'_, State>,
    name: u32,
    name_length: u32,
    arguments: u32,
    arguments_length: u32,
    address_at: u32,
    length_at: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_call_foreign_function")?;
    let name = bytes(memory, name, name_length)?;
    let arguments = bytes(memory, arguments, arguments_length)?;
    let mut result = state.take_scratch();
    let status = if name == b"clear_route_cache" {
        host.clear_route_cache(state.effective);
        Status::Ok
    } else {
        host.foreign_function(state.effective, name, arguments, &mut result)
    };
    if status != Status::Ok {
        state.put_scratch(result);
        let survived = [Status::NotFound, Status::BadArgument, Status::SerializationFailure];
        return Ok(safe(status, &survived, Status::InternalFailure));
    }
    if address_at == 0 {
        if length_at != 0 {
            write_u32(memory, length_at, u32::try_from(result.len()).unwrap_or(u32::MAX))?;
        }
        state.put_scratch(result);
    } else {
        give(&mut caller, result, address_at, length_at)?;
    }
    Ok(OK)
}
