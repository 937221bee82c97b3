//! Bodies, TCP data, messages, and the configuration.
//!
//! Configuration and foreign-function arguments (buffers 6 to 8) are the engine's own, readable only in the callback that they
//! belong to, and never written. A buffer that does not exist in this phase is not found when read and ignores writes.

use wasmtime::{Caller, Linker, Result};

use super::{BAD_ARGUMENT, ENV, NOT_FOUND, OK, View, bytes, enter, give, write_u32};
use crate::state::{Readable, State};
use crate::types::BufferKind;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_get_buffer_bytes", get)?;
    linker.func_wrap(ENV, "proxy_set_buffer_bytes", set)?;
    linker.func_wrap(ENV, "proxy_get_buffer_status", status)?;
    linker.func_wrap(ENV, "proxy_get_configuration", configuration)?;
    Ok(())
}

/// Start and length are 32 bits wide and added in 64, so there is nothing to overflow: a start behind the end is
/// empty, a length beyond it is clipped.
fn get(
    mut caller: Caller<'_, State>,
    buffer: u32,
    start: u32,
    length: u32,
    address_at: u32,
    length_at: u32,
) -> Result<i32> {
    let View { state, host, .. } = enter(&mut caller, "proxy_get_buffer_bytes")?;
    let Some(kind) = BufferKind::from_abi(buffer) else { return Ok(NOT_FOUND) };
    let (start, length) = (start as usize, length as usize);
    let mut out = state.take_scratch();
    let found = if is_own(kind) {
        own(state, kind).map(|bytes| {
            let bytes = bytes.get(start..).unwrap_or_default();
            out.extend_from_slice(bytes.get(..length).unwrap_or(bytes));
        })
    } else {
        let exists = host.with_buffer(state.effective, kind, &mut |buffer| {
            out.clear();
            if start < buffer.len() {
                buffer.copy_to(start, length.min(buffer.len() - start), &mut out);
            }
        });
        exists.then_some(())
    };
    if found.is_none() {
        state.put_scratch(out);
        return Ok(NOT_FOUND);
    }
    give(&mut caller, out, address_at, length_at)?;
    Ok(OK)
}

/// Nothing at the start prepends, a start at or behind the end appends, anything else replaces the range.
fn set(
    mut caller: Caller<'_, State>,
    buffer: u32,
    start: u32,
    length: u32,
    address: u32,
    bytes_length: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_set_buffer_bytes")?;
    let bytes = bytes(memory, address, bytes_length)?;
    let Some(kind) = BufferKind::from_abi(buffer) else { return Ok(OK) };
    if !is_own(kind) {
        host.with_buffer(state.effective, kind, &mut |buffer| {
            let held = buffer.len();
            let start = (start as usize).min(held);
            // A refusal has been counted by the embedder, and the guest would not survive being told.
            let _ = buffer.splice(start, (length as usize).min(held - start), bytes);
        });
    }
    Ok(OK)
}

fn status(mut caller: Caller<'_, State>, buffer: u32, length_at: u32, flags_at: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_get_buffer_status")?;
    let Some(kind) = BufferKind::from_abi(buffer) else { return Ok(BAD_ARGUMENT) };
    let mut length = None;
    if is_own(kind) {
        length = own(state, kind).map(<[u8]>::len);
    } else {
        host.with_buffer(state.effective, kind, &mut |buffer| length = Some(buffer.len()));
    }
    let Some(length) = length else { return Ok(NOT_FOUND) };
    write_u32(memory, length_at, u32::try_from(length).unwrap_or(u32::MAX))?;
    write_u32(memory, flags_at, 0)?;
    Ok(OK)
}

/// 0.1.0 only: the configuration that belongs to the callback that is running.
fn configuration(mut caller: Caller<'_, State>, address_at: u32, length_at: u32) -> Result<i32> {
    let View { state, .. } = enter(&mut caller, "proxy_get_configuration")?;
    let mut out = state.take_scratch();
    match state.readable {
        Readable::Vm => out.extend_from_slice(&state.settings.vm_configuration),
        Readable::Plugin => out.extend_from_slice(&state.configuration),
        Readable::Arguments | Readable::Nothing => {}
    }
    give(&mut caller, out, address_at, length_at)?;
    Ok(OK)
}

fn is_own(kind: BufferKind) -> bool {
    matches!(kind, BufferKind::VmConfiguration | BufferKind::PluginConfiguration | BufferKind::ForeignFunctionArguments)
}

/// One of the engine's buffers, if it can be read now.
fn own(state: &State, kind: BufferKind) -> Option<&[u8]> {
    match (kind, state.readable) {
        (BufferKind::VmConfiguration, Readable::Vm | Readable::Plugin) => Some(&state.settings.vm_configuration),
        (BufferKind::PluginConfiguration, Readable::Plugin) => Some(&state.configuration),
        (BufferKind::ForeignFunctionArguments, Readable::Arguments) => Some(&state.arguments),
        _ => None,
    }
}
