//! The addresses that a process listens on. They outlive generations: a listener that keeps its address keeps its sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicU64},
};

use super::handover::{Inherited, Named};
use crate::{
    config::{Problem, resolved::Listener},
    listener::{
        accept::{Admission, Count},
        socket,
    },
};

/// All of them.
pub(super) struct Addresses {
    bound: Vec<Bound>,
    next: u64,
    /// Connections of the process.
    process: Arc<Count>,
    /// Of connections.
    ids: Arc<AtomicU64>,
    /// What another process has bound, until somebody wants it.
    inherited: Inherited,
}

/// One address.
#[derive(Clone)]
struct Bound {
    number: u64,
    /// As it was written; the port may be 0.
    written: SocketAddr,
    /// Who has it.
    listener: String,
    actual: SocketAddr,
    admission: Arc<Admission>,
}

/// Where a listener of a new generation listens.
pub(super) struct Place {
    pub number: u64,
    pub address: SocketAddr,
    pub admission: Arc<Admission>,
    /// By worker, where nobody listens there yet.
    pub sockets: Vec<Vec<TcpListener>>,
    bound: Bound,
}

impl Addresses {
    pub fn new(connections: usize, inherited: Inherited) -> Self {
        let ids = Arc::new(AtomicU64::new(1));
        Self { bound: Vec::new(), next: 0, process: Arc::new(Count::new(connections)), ids, inherited }
    }

    /// Where each gate's listener listens.
    pub fn named(&self) -> Vec<(u64, Named)> {
        let one = |bound: &Bound| {
            (bound.number, Named { written: bound.written, listener: bound.listener.clone(), actual: bound.actual })
        };
        self.bound.iter().map(one).collect()
    }

    /// Finds or binds an address for every listener. Nothing changes for those that are there.
    ///
    /// # Errors
    /// All that cannot be bound.
    pub fn places(&mut self, listeners: &[Listener], workers: usize) -> Result<Vec<Place>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut places: Vec<(usize, Place)> = Vec::new();
        // What is inherited comes last: from the moment that a process has more sockets there than it was given, the kernel sends clients
        // to them, who are lost where something else fails.
        let mut order: Vec<_> = listeners.iter().enumerate().collect();
        order.sort_by_key(|(_, listener)| self.inherited.has(listener));
        for (number, listener) in order {
            if !problems.is_empty() && self.inherited.has(listener) {
                break;
            }
            match self.place(listener, workers) {
                Ok(place) => places.push((number, place)),
                Err(error) => problems.push(
                    Problem::new(
                        listener.origin.clone(),
                        format!("listener \"{}\" cannot listen on {}: {error}", listener.name, listener.address),
                    )
                    .help(unbound(&error)),
                ),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        places.sort_by_key(|(number, _)| *number);
        Ok(places.into_iter().map(|(_, place)| place).collect())
    }

    fn place(&mut self, listener: &Listener, workers: usize) -> io::Result<Place> {
        // Any free port is that of its listener; a port that was asked for is whoever's has it now.
        let known = self.bound.iter().find(|bound| {
            bound.written == listener.address && (bound.written.port() != 0 || bound.listener == listener.name)
        });
        let (bound, sockets) = match known {
            Some(bound) => (Bound { listener: listener.name.clone(), ..bound.clone() }, Vec::new()),
            None => {
                let sockets = match self.inherited.listener(listener) {
                    found if found.is_empty() => {
                        let port = listener.address.port();
                        let own = self.bound.iter().any(|bound| bound.actual.port() == port);
                        socket::bind(listener.address, workers, own)?
                    }
                    found => socket::spread(found, workers)?,
                };
                let actual = sockets.first().map_or(Ok(listener.address), TcpListener::local_addr)?;
                self.next += 1;
                let (process, ids) = (Arc::clone(&self.process), Arc::clone(&self.ids));
                let bound = Bound {
                    number: self.next,
                    written: listener.address,
                    listener: listener.name.clone(),
                    actual,
                    admission: Admission::new(process, listener.limits.connections, ids),
                };
                (bound, sockets)
            }
        };
        let (number, address, admission) = (bound.number, bound.actual, Arc::clone(&bound.admission));
        let mut by_worker: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        for (index, socket) in sockets.into_iter().enumerate() {
            if let Some(worker) = by_worker.get_mut(index % workers.max(1)) {
                worker.push(socket);
            }
        }
        Ok(Place { number, address, admission, sockets: by_worker, bound })
    }

    /// These are the ones from now on.
    pub fn settle(&mut self, places: Vec<Place>, listeners: &[Listener], connections: usize) {
        let left = self.inherited.left();
        if !left.is_empty() {
            // On a socket that no listener wants clients would wait in vain.
            tracing::warn!("nobody listens any more on {}: no listener of the configuration has it", left.join(", "));
        }
        self.inherited = Inherited::default();
        self.process.set_limit(connections);
        for (place, listener) in places.iter().zip(listeners) {
            place.admission.set_limit(listener.limits.connections);
        }
        self.bound = places.into_iter().map(|place| place.bound).collect();
    }
}

/// What to do about an address that cannot be bound.
pub(crate) fn unbound(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another process has the address, or a listener of this file has all addresses of the port"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; 0.0.0.0 and [::] mean all that it has"
        }
        std::io::ErrorKind::PermissionDenied => "a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "choose another address",
    }
}
