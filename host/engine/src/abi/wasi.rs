//! The part of WASI that Proxy-Wasm has: output, clocks, randomness, environment, exit.
//!
//! There are no arguments, no files and no standard input. Everything else that compilers import is in `wasi_absent`.

use wasmtime::{Caller, Linker, Result};

use super::{View, bytes, bytes_mut, enter_always, enter_starting, write_u32, write_u64};
use crate::state::{Abort, State};
use crate::types::LogLevel;

const SUCCESS: i32 = 0;
/// The file descriptor is not one of ours.
const EBADF: i32 = 8;
const EINVAL: i32 = 28;
/// The clock is not one of ours.
const ENOTSUP: i32 = 58;
const ENOTCAPABLE: i32 = 76;

/// Bytes that one `random_get` may ask for.
const RANDOM: u32 = 64 << 10;
/// Bytes that one `fd_write` takes. A guest writes the rest with the next, as POSIX demands of it.
const WRITE: usize = 64 << 10;
/// Slices that one `fd_write` takes.
const SLICES: u32 = 1024;

pub(super) fn link(linker: &mut Linker<State>, module: &str) -> Result<()> {
    linker.func_wrap(module, "fd_write", fd_write)?;
    linker.func_wrap(module, "clock_time_get", clock_time_get)?;
    linker.func_wrap(module, "random_get", random_get)?;
    linker.func_wrap(module, "environ_sizes_get", environ_sizes_get)?;
    linker.func_wrap(module, "environ_get", environ_get)?;
    linker.func_wrap(module, "fd_fdstat_get", fd_fdstat_get)?;
    linker.func_wrap(
        module,
        "args_sizes_get",
        |mut caller: Caller<'_, State>, count_at: u32, size_at: u32| -> Result<i32> {
            let view = enter_starting(&mut caller, "args_sizes_get")?;
            write_u32(view.memory, count_at, 0)?;
            write_u32(view.memory, size_at, 0)?;
            Ok(SUCCESS)
        },
    )?;
    linker.func_wrap(module, "args_get", |mut caller: Caller<'_, State>, _: u32, _: u32| -> Result<i32> {
        enter_starting(&mut caller, "args_get")?;
        Ok(SUCCESS)
    })?;
    linker.func_wrap(module, "proc_exit", |mut caller: Caller<'_, State>, code: i32| -> Result<()> {
        enter_starting(&mut caller, "proc_exit")?;
        Err(Abort::Exit(code).into())
    })?;
    linker.func_wrap(module, "sched_yield", |mut caller: Caller<'_, State>| -> Result<i32> {
        enter_starting(&mut caller, "sched_yield")?;
        Ok(SUCCESS)
    })?;
    linker.func_wrap(
        module,
        "poll_oneoff",
        |mut caller: Caller<'_, State>, _: u32, _: u32, _: u32, _: u32| -> Result<i32> {
            enter_always(&mut caller)?;
            Ok(SUCCESS)
        },
    )?;
    linker.func_wrap(module, "fd_close", |mut caller: Caller<'_, State>, fd: u32| -> Result<i32> {
        enter_starting(&mut caller, "fd_close")?;
        Ok(if fd <= 2 { SUCCESS } else { EBADF })
    })?;
    linker.func_wrap(
        module,
        "fd_fdstat_set_flags",
        |mut caller: Caller<'_, State>, fd: u32, _: u32| -> Result<i32> {
            enter_starting(&mut caller, "fd_fdstat_set_flags")?;
            Ok(if is_output(fd) { SUCCESS } else { EBADF })
        },
    )?;
    linker.func_wrap(module, "fd_prestat_get", |mut caller: Caller<'_, State>, _: u32, _: u32| -> Result<i32> {
        enter_starting(&mut caller, "fd_prestat_get")?;
        Ok(EBADF)
    })?;
    linker.func_wrap(
        module,
        "fd_prestat_dir_name",
        |mut caller: Caller<'_, State>, _: u32, _: u32, _: u32| -> Result<i32> {
            enter_starting(&mut caller, "fd_prestat_dir_name")?;
            Ok(EBADF)
        },
    )?;
    Ok(())
}

fn is_output(fd: u32) -> bool {
    fd == 1 || fd == 2
}

/// Standard output and error become log lines, without the newline at their end.
fn fd_write(mut caller: Caller<'_, State>, fd: u32, slices: u32, count: u32, written_at: u32) -> Result<i32> {
    let View { memory, state, host } = enter_always(&mut caller)?;
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Ok(EBADF),
    };
    // In the guest's allocator the scratch buffer is in use: then this is a new one.
    let mut text = state.take_scratch();
    let slices = bytes(memory, slices, count.min(SLICES).saturating_mul(8))?;
    for slice in slices.as_chunks::<8>().0 {
        let [a0, a1, a2, a3, l0, l1, l2, l3] = *slice;
        let (address, length) = (u32::from_le_bytes([a0, a1, a2, a3]), u32::from_le_bytes([l0, l1, l2, l3]));
        let slice = bytes(memory, address, length)?;
        let room = WRITE.saturating_sub(text.len());
        text.extend_from_slice(slice.get(..room).unwrap_or(slice));
    }
    if !text.is_empty() {
        host.log(state.effective, level, text.strip_suffix(b"\n").unwrap_or(&text));
    }
    write_u32(memory, written_at, u32::try_from(text.len()).unwrap_or(0))?;
    state.put_scratch(text);
    Ok(SUCCESS)
}

fn clock_time_get(mut caller: Caller<'_, State>, clock: u32, _precision: u64, time_at: u32) -> Result<i32> {
    let View { memory, host, .. } = enter_always(&mut caller)?;
    let time = match clock {
        0 => host.now(),
        1 => host.monotonic(),
        _ => return Ok(ENOTSUP),
    };
    write_u64(memory, time_at, time)?;
    Ok(SUCCESS)
}

fn random_get(mut caller: Caller<'_, State>, address: u32, length: u32) -> Result<i32> {
    let View { memory, host, .. } = enter_starting(&mut caller, "random_get")?;
    if length > RANDOM {
        return Ok(EINVAL);
    }
    Ok(if host.random(bytes_mut(memory, address, length)?) { SUCCESS } else { ENOTCAPABLE })
}

fn environ_sizes_get(mut caller: Caller<'_, State>, count_at: u32, size_at: u32) -> Result<i32> {
    let View { memory, state, .. } = enter_starting(&mut caller, "environ_sizes_get")?;
    let size: usize = state.settings.environment.iter().map(Vec::len).sum();
    write_u32(memory, count_at, u32::try_from(state.settings.environment.len()).unwrap_or(u32::MAX))?;
    write_u32(memory, size_at, u32::try_from(size).unwrap_or(u32::MAX))?;
    Ok(SUCCESS)
}

fn environ_get(mut caller: Caller<'_, State>, mut pointers: u32, mut address: u32) -> Result<i32> {
    let View { memory, state, .. } = enter_starting(&mut caller, "environ_get")?;
    for variable in &state.settings.environment {
        let length = u32::try_from(variable.len()).unwrap_or(u32::MAX);
        write_u32(memory, pointers, address)?;
        bytes_mut(memory, address, length)?.copy_from_slice(variable);
        pointers = pointers.saturating_add(4);
        address = address.saturating_add(length);
    }
    Ok(SUCCESS)
}

/// `fdstat`: kind unknown, no flags, the right to write.
fn fd_fdstat_get(mut caller: Caller<'_, State>, fd: u32, stat_at: u32) -> Result<i32> {
    const RIGHT_TO_WRITE: u64 = 64;
    let View { memory, .. } = enter_starting(&mut caller, "fd_fdstat_get")?;
    if !is_output(fd) {
        return Ok(EBADF);
    }
    let stat = bytes_mut(memory, stat_at, 24)?;
    stat.fill(0);
    write_u64(stat, 8, RIGHT_TO_WRITE)?;
    Ok(SUCCESS)
}
