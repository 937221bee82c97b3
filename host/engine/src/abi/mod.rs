//! What a guest calls: every hostcall of every ABI version, linked for every module.
//!
//! The versions do not conflict, so a module's version decides only over the arity of two callbacks and over how a missing header
//! reads. One file per family; this one holds what all of them share: the way into the host, guest
//! pointers, and the way of a value into the guest.
//!
//! Every hostcall goes the same way: [`enter`] checks that it is permitted now and borrows guest memory, state and
//! host at once; arguments are slices of guest memory, never copies; a value that goes back is copied to the scratch
//! buffer of the store and handed over by [`give`], when nothing is borrowed any more, because the guest's allocator runs.

mod buffers;
mod calls;
mod maps;
mod metrics;
mod pairs;
mod plugin;
mod shared;
mod streams;
mod wasi;
mod wasi_absent;

use wasmtime::{Caller, Extern, Linker, Memory, Result};

use crate::host::Host;
use crate::state::{Abort, Mode, State};
use crate::types::{ContextId, Status};

pub(crate) use self::pairs::PairsScratch;

/// The module name of the ABI's imports.
const ENV: &str = "env";
const OK: i32 = Status::Ok as i32;
const NOT_FOUND: i32 = Status::NotFound as i32;
const BAD_ARGUMENT: i32 = Status::BadArgument as i32;

/// Defines everything that any supported module may import.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    buffers::link(linker)?;
    calls::link(linker)?;
    maps::link(linker)?;
    metrics::link(linker)?;
    plugin::link(linker)?;
    shared::link(linker)?;
    streams::link(linker)?;
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        wasi::link(linker, module)?;
        wasi_absent::link(linker, module)?;
    }
    Ok(())
}

/// What a hostcall works with.
struct View<'a> {
    memory: &'a mut [u8],
    state: &'a mut State,
    host: &'a mut dyn Host,
}

impl View<'_> {
    /// The context on whose behalf the guest calls.
    fn cx(&self) -> ContextId {
        self.state.effective
    }
}

/// Into a hostcall that is permitted in callbacks only.
#[inline]
fn enter<'a>(caller: &'a mut Caller<'_, State>, hostcall: &'static str) -> Result<View<'a>> {
    if caller.data().mode != Mode::Running {
        return Err(refused(caller.data().mode, hostcall));
    }
    caller.data_mut().budget.check()?;
    view(caller)
}

/// Into a hostcall that is permitted while the guest starts, too.
#[inline]
fn enter_starting<'a>(caller: &'a mut Caller<'_, State>, hostcall: &'static str) -> Result<View<'a>> {
    match caller.data().mode {
        Mode::Running | Mode::Starting => enter_always(caller),
        mode => Err(refused(mode, hostcall)),
    }
}

/// Into a hostcall that is permitted always, in the guest's allocator too.
#[inline]
fn enter_always<'a>(caller: &'a mut Caller<'_, State>) -> Result<View<'a>> {
    caller.data_mut().budget.check()?;
    view(caller)
}

#[cold]
fn refused(mode: Mode, hostcall: &'static str) -> wasmtime::Error {
    let during = match mode {
        Mode::Allocating => "its allocator ran",
        Mode::Starting => "it started",
        Mode::Idle | Mode::Running => "nothing ran",
    };
    Abort::NotPermitted { hostcall, during }.into()
}

#[inline]
fn view<'a>(caller: &'a mut Caller<'_, State>) -> Result<View<'a>> {
    let host = caller.data().host()?;
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => find_memory(caller)?,
    };
    let (memory, state) = memory.data_and_store_mut(caller);
    Ok(View { memory, state, host })
}

/// A module's `start` section runs before the instance, hence its memory, is at hand.
#[cold]
fn find_memory(caller: &mut Caller<'_, State>) -> Result<Memory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(Abort::BadPointer { address: 0, length: 0 }.into()),
    }
}

/// The guest's bytes. Nothing is read for an empty slice, so its address may be anything.
#[inline]
fn bytes(memory: &[u8], address: u32, length: u32) -> Result<&[u8], Abort> {
    if length == 0 {
        return Ok(&[]);
    }
    let start = address as usize;
    memory.get(start..start.saturating_add(length as usize)).ok_or(Abort::BadPointer { address, length })
}

#[inline]
fn bytes_mut(memory: &mut [u8], address: u32, length: u32) -> Result<&mut [u8], Abort> {
    if length == 0 {
        return Ok(&mut []);
    }
    let start = address as usize;
    memory.get_mut(start..start.saturating_add(length as usize)).ok_or(Abort::BadPointer { address, length })
}

#[inline]
fn write_u32(memory: &mut [u8], address: u32, value: u32) -> Result<(), Abort> {
    bytes_mut(memory, address, 4)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

#[inline]
fn write_u64(memory: &mut [u8], address: u32, value: u64) -> Result<(), Abort> {
    bytes_mut(memory, address, 8)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Hands `value`, the scratch buffer, to the guest: its allocator provides the place, and the place and the length are
/// written where the guest asked for them. An empty value is a null pointer and allocates nothing.
fn give(caller: &mut Caller<'_, State>, value: Vec<u8>, address_at: u32, length_at: u32) -> Result<()> {
    let length = u32::try_from(value.len()).map_err(|_| Abort::OutOfMemory(u32::MAX))?;
    let address = if length == 0 { 0 } else { allocate(caller, length)? };
    let View { memory, state, .. } = view(caller)?;
    bytes_mut(memory, address, length)?.copy_from_slice(&value);
    write_u32(memory, address_at, address)?;
    write_u32(memory, length_at, length)?;
    state.put_scratch(value);
    Ok(())
}

/// Calls the guest's allocator: the only way back into a guest that is waiting for a hostcall.
fn allocate(caller: &mut Caller<'_, State>, length: u32) -> Result<u32> {
    let state = caller.data_mut();
    // Absent while it runs, and before the instance is there; neither can get here.
    let Some(allocator) = state.allocator.take() else {
        return Err(Abort::OutOfMemory(length).into());
    };
    state.mode = Mode::Allocating;
    let result = allocator.call(&mut *caller, length);
    let state = caller.data_mut();
    state.mode = Mode::Running;
    state.allocator = Some(allocator);
    match result? {
        0 => Err(Abort::OutOfMemory(length).into()),
        address => Ok(address),
    }
}

/// A status of the host, if the official SDK survives it from this hostcall, else `otherwise`.
#[inline]
fn safe(status: Status, survived: &[Status], otherwise: Status) -> i32 {
    let status = if status == Status::Ok || survived.contains(&status) { status } else { otherwise };
    status as i32
}
