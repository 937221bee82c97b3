//! The rest of WASI, which is not there, but which standard libraries import all the same.
//!
//! A module that was written for Envoy loads there because its host defines these names; so it loads here. Calling one fails as it would
//! on a system without files and sockets.

use wasmtime::{Caller, FuncType, Linker, Result, Val, ValType};

use crate::state::{Mode, State};

use super::refused;

const EBADF: i32 = 8;
const ENOSYS: i32 = 52;

/// Name, parameters (`i` is an `i32`, `l` an `i64`), and the error.
const ABSENT: &[(&str, &str, i32)] = &[
    ("clock_res_get", "ii", ENOSYS),
    ("fd_advise", "illi", EBADF),
    ("fd_allocate", "ill", EBADF),
    ("fd_datasync", "i", EBADF),
    ("fd_fdstat_set_rights", "ill", EBADF),
    ("fd_filestat_get", "ii", EBADF),
    ("fd_filestat_set_size", "il", EBADF),
    ("fd_filestat_set_times", "illi", EBADF),
    ("fd_pread", "iiili", EBADF),
    ("fd_pwrite", "iiili", EBADF),
    ("fd_read", "iiii", EBADF),
    ("fd_readdir", "iiili", EBADF),
    ("fd_renumber", "ii", EBADF),
    ("fd_seek", "ilii", EBADF),
    ("fd_sync", "i", EBADF),
    ("fd_tell", "ii", EBADF),
    ("path_create_directory", "iii", ENOSYS),
    ("path_filestat_get", "iiiii", ENOSYS),
    ("path_filestat_set_times", "iiiilli", ENOSYS),
    ("path_link", "iiiiiii", ENOSYS),
    ("path_open", "iiiiillii", ENOSYS),
    ("path_readlink", "iiiiii", ENOSYS),
    ("path_remove_directory", "iii", ENOSYS),
    ("path_rename", "iiiiii", ENOSYS),
    ("path_symlink", "iiiii", ENOSYS),
    ("path_unlink_file", "iii", ENOSYS),
    ("proc_raise", "i", ENOSYS),
    ("sock_accept", "iii", ENOSYS),
    ("sock_recv", "iiiiii", ENOSYS),
    ("sock_send", "iiiii", ENOSYS),
    ("sock_shutdown", "ii", ENOSYS),
];

pub(super) fn link(linker: &mut Linker<State>, module: &str) -> Result<()> {
    for (name, parameters, error) in ABSENT.iter().copied() {
        let parameters = parameters.chars().map(|kind| if kind == 'l' { ValType::I64 } else { ValType::I32 });
        let ty = FuncType::new(linker.engine(), parameters, [ValType::I32]);
        linker.func_new(module, name, ty, move |caller: Caller<'_, State>, _, results| {
            if let mode @ (Mode::Allocating | Mode::Idle) = caller.data().mode {
                return Err(refused(mode, name));
            }
            if let Some(result) = results.first_mut() {
                *result = Val::I32(error);
            }
            Ok(())
        })?;
    }
    Ok(())
}
