//! Header and trailer maps.
//!
//! A map that does not exist in this phase reads as if it were empty and ignores writes: the official SDK
//! panics on every other answer.

use wasmtime::{Caller, Linker, Result};

use super::pairs::{self, has_upper};
use super::{BAD_ARGUMENT, ENV, NOT_FOUND, OK, View, bytes, enter, give, write_u32};
use crate::host::{Map, Refused};
use crate::module::AbiVersion;
use crate::state::State;
use crate::types::MapKind;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_get_header_map_size", size)?;
    linker.func_wrap(ENV, "proxy_get_header_map_pairs", pairs)?;
    linker.func_wrap(ENV, "proxy_set_header_map_pairs", set_pairs)?;
    linker.func_wrap(ENV, "proxy_get_header_map_value", value)?;
    linker.func_wrap(ENV, "proxy_add_header_map_value", add)?;
    linker.func_wrap(ENV, "proxy_replace_header_map_value", replace)?;
    linker.func_wrap(ENV, "proxy_remove_header_map_value", remove)?;
    Ok(())
}

/// The bytes that `proxy_get_header_map_pairs` would give.
fn size(mut caller: Caller<'_, State>, map: u32, size_at: u32) -> Result<i32> {
    let view = enter(&mut caller, "proxy_get_header_map_size")?;
    let Some(kind) = MapKind::from_abi(map) else { return Ok(BAD_ARGUMENT) };
    let mut size = 0;
    view.host.with_map(view.state.effective, kind, &mut |map| size = pairs::encoded_length(map));
    write_u32(view.memory, size_at, u32::try_from(size).unwrap_or(u32::MAX))?;
    Ok(OK)
}

fn pairs(mut caller: Caller<'_, State>, map: u32, address_at: u32, length_at: u32) -> Result<i32> {
    let view = enter(&mut caller, "proxy_get_header_map_pairs")?;
    let mut out = view.state.take_scratch();
    if let Some(kind) = MapKind::from_abi(map) {
        view.host.with_map(view.state.effective, kind, &mut |map| {
            out.clear();
            pairs::encode(map, &mut out);
        });
    }
    give(&mut caller, out, address_at, length_at)?;
    Ok(OK)
}

fn set_pairs(mut caller: Caller<'_, State>, map: u32, address: u32, length: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_set_header_map_pairs")?;
    let serialized = bytes(memory, address, length)?;
    let Some(kind) = MapKind::from_abi(map) else { return Ok(OK) };
    let ([mut list, other], mut lower) = state.pairs.take();
    pairs::decode(serialized, &mut list);
    pairs::lower_keys(&mut list, &mut lower);
    host.with_map(state.effective, kind, &mut |map| refusal_is_fine(map.replace_all(&list)));
    // The list borrows from `lower`, so it goes back first.
    state.pairs.put_lists([list, other]);
    state.pairs.put_lower(lower);
    Ok(OK)
}

fn value(
    mut caller: Caller<'_, State>,
    map: u32,
    key: u32,
    key_length: u32,
    address_at: u32,
    length_at: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_get_header_map_value")?;
    let key = bytes(memory, key, key_length)?;
    let mut out = state.take_scratch();
    let mut found = false;
    if let Some(kind) = MapKind::from_abi(map) {
        host.with_map(state.effective, kind, &mut |map| {
            if let Some(value) = map.get(key) {
                out.clear();
                out.extend_from_slice(value);
                found = true;
            }
        });
    }
    if found || state.settings.abi == AbiVersion::V0_1_0 {
        give(&mut caller, out, address_at, length_at)?;
        Ok(OK)
    } else {
        state.put_scratch(out);
        Ok(NOT_FOUND)
    }
}

fn add(caller: Caller<'_, State>, map: u32, key: u32, key_len: u32, value: u32, value_len: u32) -> Result<i32> {
    write(caller, "proxy_add_header_map_value", map, (key, key_len), (value, value_len), |map, key, value| {
        map.add(key, value)
    })
}

fn replace(caller: Caller<'_, State>, map: u32, key: u32, key_len: u32, value: u32, value_len: u32) -> Result<i32> {
    write(caller, "proxy_replace_header_map_value", map, (key, key_len), (value, value_len), |map, key, value| {
        map.replace(key, value)
    })
}

fn remove(caller: Caller<'_, State>, map: u32, key: u32, key_len: u32) -> Result<i32> {
    write(caller, "proxy_remove_header_map_value", map, (key, key_len), (0, 0), |map, key, _| map.remove(key))
}

/// One change under one key, which is made lower case first.
#[inline]
fn write(
    mut caller: Caller<'_, State>,
    hostcall: &'static str,
    map: u32,
    key: (u32, u32),
    value: (u32, u32),
    change: impl Fn(&mut dyn Map, &[u8], &[u8]) -> Result<(), Refused>,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, hostcall)?;
    let key = bytes(memory, key.0, key.1)?;
    let value = bytes(memory, value.0, value.1)?;
    let Some(kind) = MapKind::from_abi(map) else { return Ok(OK) };
    if has_upper(key) {
        let mut lower = state.take_scratch();
        lower.extend(key.iter().map(u8::to_ascii_lowercase));
        host.with_map(state.effective, kind, &mut |map| refusal_is_fine(change(map, &lower, value)));
        state.put_scratch(lower);
    } else {
        host.with_map(state.effective, kind, &mut |map| refusal_is_fine(change(map, key, value)));
    }
    Ok(OK)
}

/// The embedder has counted it, and the guest would not survive being told.
fn refusal_is_fine(result: Result<(), Refused>) {
    let _ = result;
}
