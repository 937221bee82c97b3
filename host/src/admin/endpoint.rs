//! The socket of the admin endpoint.

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, PermissionsExt as _},
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::net::{TcpListener, UnixListener};

use super::token::{self, Places};
use crate::{
    config::resolved::{self, Address},
    reload::handover::AdminSocket,
};

/// A bound endpoint.
pub enum Endpoint {
    /// At an address.
    Tcp(TcpListener),
    /// A socket in the file system, removed when this is dropped, unless another process has it by then.
    Unix(UnixListener, PathBuf, Arc<AtomicBool>),
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Self::Unix(_, path, handed_over) = self
            && !handed_over.load(Ordering::Relaxed)
        {
            let _ = fs::remove_file(path);
        }
    }
}

impl Endpoint {
    /// Takes what another process has bound, or binds it. A socket that nobody listens on any more is replaced.
    /// `handed_over` says later that another process has it.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn open(
        settings: &resolved::Admin,
        inherited: Option<AdminSocket>,
        handed_over: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let unix = |socket: std::os::unix::net::UnixListener, path: &PathBuf| {
            socket.set_nonblocking(true)?;
            Ok(Self::Unix(UnixListener::from_std(socket)?, path.clone(), Arc::clone(handed_over)))
        };
        let tcp = |socket: std::net::TcpListener| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket).map(Self::Tcp)
        };
        match (inherited, &settings.address) {
            (Some(AdminSocket::Tcp(socket)), _) => return tcp(socket),
            (Some(AdminSocket::Unix(socket)), Address::Unix(path)) => return unix(socket, path),
            _ => {}
        }
        match &settings.address {
            Address::Tcp(address) => tcp(std::net::TcpListener::bind(address)?),
            Address::Unix(path) => {
                let stale = fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
                    && std::os::unix::net::UnixStream::connect(path).is_err();
                if stale {
                    fs::remove_file(path)?;
                }
                let socket = std::os::unix::net::UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                unix(socket, path)
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Tcp(socket) => {
                Address::Tcp(socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))))
            }
            Self::Unix(_, path, _) => Address::Unix(path.clone()),
        }
    }

    /// A copy of its socket, for another process.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn copy(&self) -> io::Result<AdminSocket> {
        match self {
            Self::Tcp(socket) => socket.as_fd().try_clone_to_owned().map(|copy| AdminSocket::Tcp(copy.into())),
            Self::Unix(socket, ..) => socket.as_fd().try_clone_to_owned().map(|copy| AdminSocket::Unix(copy.into())),
        }
    }
}

/// The token of an endpoint: what is in its file, which is made when it is missing. A socket needs none.
///
/// # Errors
/// The file that cannot be read or made, and why.
pub fn token(settings: &resolved::Admin, bound: &Address) -> Result<String, (PathBuf, io::Error)> {
    match (bound, &settings.token_file) {
        (Address::Unix(_), _) => Ok(String::new()),
        (Address::Tcp(_), Some(file)) => token::configured(file).map_err(|error| (file.clone(), error)),
        (Address::Tcp(address), None) => {
            let kept = Places::of_process().own(*address);
            kept.read_or_make().map_err(|error| (kept.path().to_owned(), error))
        }
    }
}

/// Removes the token of an endpoint that nobody serves any more from its default place. One that the configuration
/// names stays.
pub fn forget_token(settings: &resolved::Admin, bound: &Address) {
    if let (Address::Tcp(address), None) = (bound, &settings.token_file) {
        let _ = fs::remove_file(Places::of_process().own(*address).path());
    }
}
