//! Listening sockets go from one process to the next: for a new binary, or from a service manager.
//!
//! The process that runs listens on a unix socket, `upgrade.sock` in its `state`. Another one that starts with `--take-over` connects
//! there and is given copies of all listening sockets, the admin endpoint's too. It configures everything, begins to accept, and says
//! so; only then does the old one drain. Until it says so nothing has changed: a new process that fails leaves the old one running.
//!
//! A message is its length (four bytes, little endian) and JSON; behind it comes one byte with one descriptor (`SCM_RIGHTS`) for each
//! socket that it lists. The byte `r` says that the new process is ready, the byte `d` that the old one drains.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::{
    config::resolved::{Address, Listener},
    listener::socket::Listening,
};

/// Of what is said.
const VERSION: u32 = 1;
/// Longer messages are none.
const LONGEST: u32 = 1024 * 1024;
/// How long the other one may take to say something.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the new process may take to configure its filters.
const READY: Duration = Duration::from_secs(300);

/// A listener's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// As it was written; the port may be 0.
    pub written: Address,
    /// Whose it is.
    pub listener: String,
    /// As it is bound.
    pub actual: Address,
}

/// A socket that another process has bound.
#[derive(Debug)]
pub struct Heirloom {
    /// Where, in the words of a configuration. `None`: nobody knows but the socket itself.
    pub named: Option<Named>,
    /// It.
    pub socket: Listening,
}

impl Heirloom {
    fn fits(&self, listener: &Listener) -> bool {
        match &self.named {
            Some(named) => {
                named.written == listener.address
                    && (!listener.address.is_any_port() || named.listener == listener.name)
            }
            None => self.socket.address().is_ok_and(|address| address == listener.address),
        }
    }
}

/// The admin endpoint's socket.
#[derive(Debug)]
pub enum AdminSocket {
    /// At an address.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

/// What a process starts with that another one has bound.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<Heirloom>,
    admin: Option<(Address, AdminSocket)>,
}

/// Whose a listening socket is, and the file that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours, or our predecessor's.
    ThisProcess,
    /// It listens there before us and after us.
    ServiceManager,
}

impl Inherited {
    /// What a service manager has bound (`LISTEN_FDS`).
    #[must_use]
    pub fn of_service_manager() -> Self {
        let mut descriptors = listenfd::ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..descriptors.len() {
            if let Ok(Some(socket)) = descriptors.take_tcp_listener(index) {
                inherited.listeners.push(Heirloom { named: None, socket: Listening::Tcp(socket) });
            } else if let Ok(Some(socket)) = descriptors.take_unix_listener(index) {
                inherited.listeners.push(Heirloom { named: None, socket: Listening::Unix(socket) });
            }
        }
        inherited
    }

    /// Whether some of them are a listener's.
    pub fn has(&self, listener: &Listener) -> bool {
        self.listeners.iter().any(|heirloom| heirloom.fits(listener))
    }

    /// Takes out the sockets of a listener, and says whether they are another process's own: a service manager's, which listens on.
    pub fn listener(&mut self, listener: &Listener) -> (Vec<Listening>, Owner) {
        let (found, rest) =
            std::mem::take(&mut self.listeners).into_iter().partition(|heirloom: &Heirloom| heirloom.fits(listener));
        self.listeners = rest;
        let lent = found.iter().any(|heirloom: &Heirloom| heirloom.named.is_none());
        let owner = if lent { Owner::ServiceManager } else { Owner::ThisProcess };
        (found.into_iter().map(|heirloom: Heirloom| heirloom.socket).collect(), owner)
    }

    /// What nobody has taken out, in words.
    pub fn left(&self) -> Vec<String> {
        let one = |heirloom: &Heirloom| match &heirloom.named {
            Some(named) => format!("{} ({})", named.actual, named.listener),
            None => heirloom.socket.address().map_or_else(|_| "?".to_owned(), |address| address.to_string()),
        };
        let mut left: Vec<String> = self.listeners.iter().map(one).collect();
        left.dedup();
        left
    }

    /// Takes out the socket of the admin endpoint.
    pub fn admin(&mut self, address: &Address) -> Option<AdminSocket> {
        if let Some((_, socket)) = self.admin.take_if(|(known, _)| known == address) {
            return Some(socket);
        }
        let own = |heirloom: &Heirloom| {
            heirloom.named.is_none() && heirloom.socket.address().is_ok_and(|known| known == *address)
        };
        let index = self.listeners.iter().position(own)?;
        Some(match self.listeners.swap_remove(index).socket {
            Listening::Tcp(socket) => AdminSocket::Tcp(socket),
            Listening::Unix(socket) => AdminSocket::Unix(socket),
        })
    }
}

/// What is handed over.
#[derive(Debug, Serialize, Deserialize)]
struct Inventory {
    version: u32,
    pid: u32,
    listeners: Vec<Named>,
    /// As it was written, when its socket follows those of the listeners.
    admin: Option<String>,
}

/// A process that is about to be replaced.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    /// Its number.
    pub pid: u32,
}

/// Takes over from the process that listens at `path`. `None`: nobody does.
///
/// # Errors
/// When it answers, and not as it should.
pub fn take(path: &Path) -> io::Result<Option<(Inherited, Predecessor)>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        // It drains, and has nothing to hand over: its addresses are free.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length as usize];
    stream.read_exact(&mut text)?;
    let inventory: Inventory = serde_json::from_slice(&text)?;
    if inventory.version != VERSION {
        let message = format!("it speaks version {} of the handover, this binary {VERSION}", inventory.version);
        return Err(io::Error::other(message));
    }
    let mut inherited = Inherited::default();
    for named in inventory.listeners {
        let descriptor = receive(&stream)?;
        let socket = match named.written {
            Address::Tcp(_) => Listening::Tcp(descriptor.into()),
            Address::Unix(_) => Listening::Unix(descriptor.into()),
        };
        inherited.listeners.push(Heirloom { named: Some(named), socket });
    }
    if let Some(written) = inventory.admin {
        let descriptor = receive(&stream)?;
        inherited.admin = match (written.strip_prefix("unix:"), written.parse()) {
            (Some(path), _) => Some((Address::Unix(path.into()), AdminSocket::Unix(descriptor.into()))),
            (None, Ok(address)) => Some((Address::Tcp(address), AdminSocket::Tcp(descriptor.into()))),
            (None, Err(_)) => None,
        };
    }
    Ok(Some((inherited, Predecessor { stream, pid: inventory.pid })))
}

impl Predecessor {
    /// Says that this process serves: the other one drains. Blocks until it has answered.
    ///
    /// # Errors
    /// When it does not answer; both serve then.
    pub fn dismiss(mut self) -> io::Result<()> {
        self.stream.write_all(b"r")?;
        self.stream.read_exact(&mut [0])
    }
}

/// Where a process waits for its successor.
#[derive(Debug)]
pub struct Door(UnixListener);

impl Door {
    /// Listens at `path`, in place of whoever did.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Renamed over the other one's: there is no moment without one.
        let fresh = path.with_extension(format!("{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        let socket = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        fs::rename(&fresh, path)?;
        Ok(Self(socket))
    }

    /// Waits for a successor that is ready, and returns what it waits on for an answer. Those that never become ready change nothing.
    /// Blocks.
    /// `sockets` has none to give while this process drains.
    ///
    /// # Errors
    /// Of the operating system, when there is no thread to be had.
    pub fn wait(
        self,
        sockets: impl Fn() -> Option<Vec<Heirloom>> + Send + Sync + 'static,
        admin: Option<(Address, AdminSocket)>,
    ) -> io::Result<Successor> {
        let (ready, first) = mpsc::channel();
        let shared = Arc::new((sockets, admin));
        let accepts = move || {
            loop {
                // One that keeps silent does not keep others waiting.
                let accepted = self.0.accept().and_then(|(stream, _)| {
                    let (shared, ready) = (Arc::clone(&shared), ready.clone());
                    named("fyke-handover").spawn(move || {
                        match (shared.0)().map(|sockets| give(stream, sockets, shared.1.as_ref())) {
                            Some(Ok(successor)) => drop(ready.send(successor)),
                            Some(Err(error)) => tracing::warn!("a process that was to take over has not: {error}"),
                            None => {}
                        }
                    })
                });
                if let Err(error) = accepted {
                    tracing::warn!("no process can take over now: {error}");
                    // Whatever is wrong with the socket, it is not asked without end.
                    thread::sleep(Duration::from_millis(100));
                }
            }
        };
        named("fyke-door").spawn(accepts)?;
        first.recv().map_err(io::Error::other)
    }
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

/// A process that serves in place of this one.
#[derive(Debug)]
pub struct Successor(UnixStream);

impl Successor {
    /// Says that this process drains.
    pub fn answer(mut self) {
        // It may not wait for that.
        let _ = self.0.write_all(b"d");
    }
}

fn give(
    mut stream: UnixStream,
    heirlooms: Vec<Heirloom>,
    admin: Option<&(Address, AdminSocket)>,
) -> io::Result<Successor> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let listeners: Vec<_> = heirlooms.iter().filter_map(|heirloom| heirloom.named.clone()).collect();
    let inventory = Inventory {
        version: VERSION,
        pid: std::process::id(),
        listeners,
        admin: admin.map(|(address, _)| address.to_string()),
    };
    let text = serde_json::to_vec(&inventory)?;
    stream.write_all(&u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes())?;
    stream.write_all(&text)?;
    for heirloom in heirlooms.iter().filter(|heirloom| heirloom.named.is_some()) {
        send(&stream, heirloom.socket.as_fd())?;
    }
    match admin {
        Some((_, AdminSocket::Tcp(socket))) => send(&stream, socket.as_fd())?,
        Some((_, AdminSocket::Unix(socket))) => send(&stream, socket.as_fd())?,
        None => {}
    }
    drop(heirlooms);
    stream.set_read_timeout(Some(READY))?;
    let mut said = [0];
    stream.read_exact(&mut said)?;
    if said == *b"r" { Ok(Successor(stream)) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn send(stream: &UnixStream, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    rustix::net::sendmsg(stream, &[io::IoSlice::new(b"f")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received =
        rustix::net::recvmsg(stream, &mut [io::IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(descriptor) = descriptors.next()
        {
            return Ok(descriptor);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a socket is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_and_nothing_changes_until_the_other_one_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/upgrade.sock");
        assert!(take(&path).unwrap().is_none());
        let door = Door::open(&path).unwrap();
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let actual = Address::Tcp(bound.local_addr().unwrap());
        let bound = Listening::Tcp(bound);
        let named =
            Named { written: "127.0.0.1:0".parse().unwrap(), listener: "web".to_owned(), actual: actual.clone() };
        let sockets = move || Some(vec![Heirloom { named: Some(named.clone()), socket: bound.try_clone().unwrap() }]);
        let admin = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = Some((Address::Tcp("127.0.0.1:9900".parse().unwrap()), AdminSocket::Tcp(admin)));
        let old = std::thread::spawn(move || door.wait(sockets, admin).unwrap().answer());
        // One that gives up.
        drop(take(&path).unwrap().unwrap());
        assert!(!old.is_finished());
        let (mut inherited, predecessor) = take(&path).unwrap().unwrap();
        assert_eq!(predecessor.pid, std::process::id());
        assert_eq!(inherited.listeners[0].socket.address().unwrap(), actual);
        assert!(inherited.admin(&Address::Tcp("127.0.0.1:1".parse().unwrap())).is_none());
        assert!(inherited.admin(&Address::Tcp("127.0.0.1:9900".parse().unwrap())).is_some());
        predecessor.dismiss().unwrap();
        old.join().unwrap();
    }
}
