//! Shared data and shared queues.

use wasmtime::{Caller, Linker, Result};

use super::{ENV, NOT_FOUND, OK, View, bytes, enter, give, safe, write_u32};
use crate::host::SharedData;
use crate::state::{Abort, State};
use crate::types::Status;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_get_shared_data", get)?;
    linker.func_wrap(ENV, "proxy_set_shared_data", set)?;
    linker.func_wrap(ENV, "proxy_register_shared_queue", register)?;
    linker.func_wrap(ENV, "proxy_resolve_shared_queue", resolve)?;
    linker.func_wrap(ENV, "proxy_enqueue_shared_queue", enqueue)?;
    linker.func_wrap(ENV, "proxy_dequeue_shared_queue", dequeue)?;
    Ok(())
}

fn get(
    mut caller: Caller<'_, State>,
    key: u32,
    key_length: u32,
    address_at: u32,
    length_at: u32,
    cas_at: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_get_shared_data")?;
    let key = bytes(memory, key, key_length)?;
    let mut value = state.take_scratch();
    match host.shared_data(state.effective, key, &mut value) {
        SharedData::Found(cas) => {
            write_u32(memory, cas_at, cas)?;
            give(&mut caller, value, address_at, length_at)?;
            Ok(OK)
        }
        SharedData::Missing => {
            state.put_scratch(value);
            Ok(NOT_FOUND)
        }
    }
}

fn set(
    mut caller: Caller<'_, State>,
    key: u32,
    key_length: u32,
    value: u32,
    value_length: u32,
    cas: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_set_shared_data")?;
    let key = bytes(memory, key, key_length)?;
    let value = bytes(memory, value, value_length)?;
    match host.set_shared_data(state.effective, key, value, cas) {
        status @ (Status::Ok | Status::CasMismatch) => Ok(status as i32),
        // No status tells this to a guest, and one that is told OK believes that its value was stored.
        _ => Err(Abort::NotStored.into()),
    }
}

fn register(mut caller: Caller<'_, State>, name: u32, name_length: u32, queue_at: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_register_shared_queue")?;
    bytes(memory, queue_at, 4)?;
    let queue = host.register_queue(state.effective, bytes(memory, name, name_length)?);
    write_u32(memory, queue_at, queue)?;
    Ok(OK)
}

fn resolve(
    mut caller: Caller<'_, State>,
    vm: u32,
    vm_length: u32,
    name: u32,
    name_length: u32,
    queue_at: u32,
) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_resolve_shared_queue")?;
    let vm = bytes(memory, vm, vm_length)?;
    let name = bytes(memory, name, name_length)?;
    match host.resolve_queue(state.effective, vm, name) {
        Some(queue) => {
            write_u32(memory, queue_at, queue)?;
            Ok(OK)
        }
        None => Ok(NOT_FOUND),
    }
}

fn enqueue(mut caller: Caller<'_, State>, queue: u32, address: u32, length: u32) -> Result<i32> {
    let View { memory, state, host } = enter(&mut caller, "proxy_enqueue_shared_queue")?;
    let status = host.enqueue(state.effective, queue, bytes(memory, address, length)?);
    Ok(safe(status, &[], Status::NotFound))
}

fn dequeue(mut caller: Caller<'_, State>, queue: u32, address_at: u32, length_at: u32) -> Result<i32> {
    let View { state, host, .. } = enter(&mut caller, "proxy_dequeue_shared_queue")?;
    let mut value = state.take_scratch();
    match host.dequeue(state.effective, queue, &mut value) {
        Status::Ok => {
            give(&mut caller, value, address_at, length_at)?;
            Ok(OK)
        }
        status => {
            state.put_scratch(value);
            Ok(safe(status, &[Status::Empty], Status::NotFound))
        }
    }
}
