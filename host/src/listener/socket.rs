//! Binds a listener's address for every worker.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::{config::resolved::Address, transport};

const BACKLOG: i32 = 4096;

/// A socket that listens.
#[derive(Debug)]
pub enum Listening {
    /// At an IP address and port.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

/// The same, on a worker.
#[derive(Debug)]
pub enum Registered {
    /// At an IP address and port.
    Tcp(tokio::net::TcpListener),
    /// In the file system.
    Unix(tokio::net::UnixListener),
}

impl Listening {
    /// Another descriptor of it.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Where it is bound. A socket in the file system may have been bound under another name than it has.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            Self::Unix(socket) => {
                Ok(Address::Unix(socket.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default()))
            }
        }
    }

    /// Takes it to the worker whose runtime this is.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn register(self) -> io::Result<Registered> {
        match self {
            Self::Tcp(socket) => tokio::net::TcpListener::from_std(socket).map(Registered::Tcp),
            Self::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(Registered::Unix),
        }
    }

    /// Takes one connection that waits.
    ///
    /// # Errors
    /// Of the operating system; `WouldBlock` where none waits.
    pub fn accept(&self) -> io::Result<(transport::Socket, transport::End)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, remote) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok((transport::Socket::Tcp(tokio::net::TcpStream::from_std(stream)?), remote.into()))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                let stream = tokio::net::UnixStream::from_std(stream)?;
                let remote = stream.peer_addr()?.into();
                Ok((transport::Socket::Unix(stream), remote))
            }
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Registered {
    /// Takes one connection, or is told when there is one.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(transport::Socket, transport::End)>> {
        Poll::Ready(Ok(match self {
            Self::Tcp(socket) => {
                let (stream, remote) = ready!(socket.poll_accept(cx))?;
                (transport::Socket::Tcp(stream), remote.into())
            }
            Self::Unix(socket) => {
                let (stream, remote) = ready!(socket.poll_accept(cx))?;
                (transport::Socket::Unix(stream), remote.into())
            }
        }))
    }

    /// Takes it back from the worker.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn into_std(self) -> io::Result<Listening> {
        match self {
            Self::Tcp(socket) => socket.into_std().map(Listening::Tcp),
            Self::Unix(socket) => socket.into_std().map(Listening::Unix),
        }
    }
}

/// Sockets on one address, one for each worker, that the kernel spreads connections over (`SO_REUSEPORT`).
///
/// # Errors
/// Of the operating system; an address that another process listens on is an error although it could be shared. With `own` this
/// process has the port already, at another address.
pub fn bind(address: SocketAddr, workers: usize, own: bool) -> io::Result<Vec<Listening>> {
    if address.port() != 0 && !own {
        // With SO_REUSEPORT alone a second proxy would silently take half of the first one's connections.
        drop(open(address, false)?);
    }
    let first = open(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![Listening::Tcp(first)];
    for _ in 1..workers {
        sockets.push(Listening::Tcp(open(address, true)?));
    }
    Ok(sockets)
}

/// Sockets in the file system, of one queue for all workers, and the file. One that nobody listens at is replaced.
///
/// # Errors
/// Of the operating system; a file that is no socket, or one that somebody listens at, is an error.
pub fn bind_file(
    path: &Path,
    mode: u32,
    workers: usize,
    handed_over: &Arc<AtomicBool>,
) -> io::Result<(Vec<Listening>, Arc<SocketFile>)> {
    if let Ok(facts) = fs::symlink_metadata(path) {
        if !facts.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        // Only a refusal says that nobody is there: whoever may not ask, or has to wait, must not take it away.
        match knock(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    // Renamed when it has its permissions: there is no moment at which others could connect.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = fs::remove_file(&fresh);
    let socket = UnixListener::bind(&fresh)?;
    let placed = fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).and_then(|()| fs::rename(&fresh, path));
    if let Err(error) = placed {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    let file = SocketFile::of(path, handed_over);
    socket.set_nonblocking(true)?;
    Ok((spread(vec![Listening::Unix(socket)], workers)?, file))
}

/// Whether somebody listens at a file, without waiting for room in its queue.
fn knock(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// The file of a socket that this process listens at. Dropped, it is removed, unless another process listens there.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    handed_over: Arc<AtomicBool>,
}

impl SocketFile {
    /// The one that is there. `handed_over`: another process listens at all files.
    #[must_use]
    pub fn of(path: &Path, handed_over: &Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), identity: identity(path), handed_over: Arc::clone(handed_over) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whatever has been put in its place is not ours.
        if !self.handed_over.load(Ordering::Relaxed) && self.identity.is_some() && identity(&self.path) == self.identity
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|facts| (facts.dev(), facts.ino()))
}

/// Has workers share sockets that another process has bound: each gets at least one.
///
/// # Errors
/// Of the operating system.
pub fn spread(mut sockets: Vec<Listening>, workers: usize) -> io::Result<Vec<Listening>> {
    for socket in &sockets {
        match socket {
            Listening::Tcp(socket) => socket.set_nonblocking(true)?,
            Listening::Unix(socket) => socket.set_nonblocking(true)?,
        }
    }
    let missing = workers.saturating_sub(sockets.len());
    let shared = match sockets.first() {
        Some(Listening::Tcp(first)) if SockRef::from(first).reuse_port()? => Some(first.local_addr()?),
        _ => None,
    };
    let more: Vec<_> = match shared {
        Some(address) => (0..missing).map(|_| open(address, true).map(Listening::Tcp)).collect::<io::Result<_>>()?,
        // One queue for all of them.
        None => sockets.iter().cycle().take(missing).map(Listening::try_clone).collect::<io::Result<_>>()?,
    };
    sockets.extend(more);
    Ok(sockets)
}

/// A socket that has an address, and does not listen.
///
/// # Errors
/// The address cannot be had.
pub fn claim(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn open(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = claim(address, share)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(address: Address) -> SocketAddr {
        match address {
            Address::Tcp(address) => address,
            Address::Unix(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn workers_share_a_port_and_a_stranger_does_not() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3, false).unwrap();
        let address = ip(sockets[0].address().unwrap());
        assert!(sockets.iter().all(|socket| ip(socket.address().unwrap()) == address));
        assert_eq!(bind(address, 1, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_is_inherited_is_for_every_worker() {
        let two = bind("127.0.0.1:0".parse().unwrap(), 2, false).unwrap();
        let expected = two[0].address().unwrap();
        let four = spread(two, 4).unwrap();
        assert!(four.len() == 4 && four.iter().all(|socket| socket.address().unwrap() == expected));
        // With fewer workers none is left behind.
        assert_eq!(spread(four, 1).unwrap().len(), 4);
        // A service manager's cannot be bound again.
        let single = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(spread(vec![Listening::Tcp(single)], 3).unwrap().len(), 3);
    }

    #[test]
    fn a_file_that_nobody_listens_at_is_replaced_and_goes_with_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let handed_over = Arc::default();
        drop(UnixListener::bind(&path).unwrap());
        let (sockets, file) = bind_file(&path, 0o640, 3, &handed_over).unwrap();
        assert_eq!((sockets.len(), fs::metadata(&path).unwrap().mode() & 0o777), (3, 0o640));
        assert_eq!(bind_file(&path, 0o600, 1, &handed_over).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        drop(file);
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert_eq!(bind_file(&path, 0o600, 1, &handed_over).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_file_of_another_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let handed_over = Arc::<AtomicBool>::default();
        let (_sockets, file) = bind_file(&path, 0o600, 1, &handed_over).unwrap();
        handed_over.store(true, Ordering::Relaxed);
        drop(file);
        assert!(path.exists());
        handed_over.store(false, Ordering::Relaxed);
        let file = SocketFile::of(&path, &handed_over);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
