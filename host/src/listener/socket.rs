//! Binds a listener's address once for every worker.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

const BACKLOG: i32 = 4096;

/// Sockets on one address, one for each worker, that the kernel spreads connections over (`SO_REUSEPORT`).
///
/// # Errors
/// Of the operating system; an address that another process listens on is an error although it could be shared. With `own` this
/// process has the port already, at another address.
pub fn bind(address: SocketAddr, workers: usize, own: bool) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 && !own {
        // With SO_REUSEPORT alone a second proxy would silently take half of the first one's connections.
        drop(open(address, false)?);
    }
    let first = open(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(address, true)?);
    }
    Ok(sockets)
}

/// Has workers share sockets that another process has bound: each gets at least one.
///
/// # Errors
/// Of the operating system.
pub fn spread(mut sockets: Vec<TcpListener>, workers: usize) -> io::Result<Vec<TcpListener>> {
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    let Some(first) = sockets.first() else { return Ok(sockets) };
    let shared = SockRef::from(first).reuse_port()?;
    let address = first.local_addr()?;
    let missing = workers.saturating_sub(sockets.len());
    let more: Vec<_> = if shared {
        (0..missing).map(|_| open(address, true)).collect::<io::Result<_>>()?
    } else {
        // One queue for all of them.
        let originals = sockets.iter().cycle().take(missing);
        originals.map(TcpListener::try_clone).collect::<io::Result<_>>()?
    };
    sockets.extend(more);
    Ok(sockets)
}

fn open(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_a_stranger_does_not() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3, false).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert_eq!(bind(address, 1, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_is_inherited_is_for_every_worker() {
        let address = |socket: &TcpListener| socket.local_addr().unwrap();
        let two = bind("127.0.0.1:0".parse().unwrap(), 2, false).unwrap();
        let expected = address(&two[0]);
        let four = spread(two, 4).unwrap();
        assert!(four.len() == 4 && four.iter().all(|socket| address(socket) == expected));
        // With fewer workers none is left behind.
        assert_eq!(spread(four, 1).unwrap().len(), 4);
        // A service manager's cannot be bound again.
        let single = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(spread(vec![single], 3).unwrap().len(), 3);
    }
}
