//! The addresses that a process listens on. They outlive generations: a listener that keeps its address keeps its sockets.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
};

use super::handover::{Inherited, Named, Owner};
use crate::{
    config::{
        Problem,
        resolved::{Address, Listener},
    },
    listener::{
        accept::{Admission, Count},
        socket::{self, Listening, SocketFile},
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
    /// Another process listens at the files of sockets.
    handed_over: Arc<AtomicBool>,
}

/// One address.
#[derive(Clone)]
struct Bound {
    number: u64,
    /// As it was written; the port may be 0.
    written: Address,
    /// Who has it.
    listener: String,
    actual: Address,
    admission: Arc<Admission>,
    /// Its file, where it has one.
    _file: Option<Arc<SocketFile>>,
}

/// Where a listener of a new generation listens.
pub(super) struct Place {
    pub number: u64,
    pub address: Address,
    pub admission: Arc<Admission>,
    /// By worker, where nobody listens there yet.
    pub sockets: Vec<Vec<Listening>>,
    bound: Bound,
}

impl Addresses {
    pub fn new(connections: usize, inherited: Inherited, handed_over: Arc<AtomicBool>) -> Self {
        let ids = Arc::new(AtomicU64::new(1));
        Self { bound: Vec::new(), next: 0, process: Arc::new(Count::new(connections)), ids, inherited, handed_over }
    }

    /// Connections of the process.
    pub fn process(&self) -> Arc<Count> {
        Arc::clone(&self.process)
    }

    /// Where each gate's listener listens.
    pub fn named(&self) -> Vec<(u64, Named)> {
        let one = |bound: &Bound| {
            let (written, actual) = (bound.written.clone(), bound.actual.clone());
            (bound.number, Named { written, listener: bound.listener.clone(), actual })
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
                Err(error) => problems.push(problem(listener, &error)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        places.sort_by_key(|(number, _)| *number);
        Ok(places.into_iter().map(|(_, place)| place).collect())
    }

    /// What could not be bound, as far as that shows without listening: nobody must be let in for a trial.
    pub fn problems(&self, listeners: &[Listener]) -> Vec<Problem> {
        let one = |listener: &Listener| {
            let Address::Tcp(address) = &listener.address else { return None };
            if self.has_port(address.port()) || self.known(listener).is_some() || self.inherited.has(listener) {
                return None;
            }
            socket::claim(*address, false).err().map(|error| problem(listener, &error))
        };
        listeners.iter().filter_map(one).collect()
    }

    /// Whether one of ours has it.
    fn has_port(&self, port: u16) -> bool {
        self.bound.iter().any(|bound| bound.actual.port() == Some(port))
    }

    /// Any free port is that of its listener; a port that was asked for is whoever's has it now.
    fn known(&self, listener: &Listener) -> Option<&Bound> {
        self.bound.iter().find(|bound| {
            bound.written == listener.address && (!bound.written.is_any_port() || bound.listener == listener.name)
        })
    }

    fn place(&mut self, listener: &Listener, workers: usize) -> io::Result<Place> {
        let (bound, sockets) = match self.known(listener) {
            Some(bound) => (Bound { listener: listener.name.clone(), ..bound.clone() }, Vec::new()),
            None => {
                let (found, owner) = self.inherited.listener(listener);
                let (sockets, actual, file) = match &listener.address {
                    Address::Tcp(address) => {
                        let sockets = if found.is_empty() {
                            socket::bind(*address, workers, self.has_port(address.port()))?
                        } else {
                            socket::spread(found, workers)?
                        };
                        let actual = sockets.first().map_or(Ok(Address::Tcp(*address)), Listening::address)?;
                        (sockets, actual, None)
                    }
                    Address::Unix(path) => {
                        let (sockets, file) = if found.is_empty() {
                            let (sockets, file) = socket::bind_file(path, listener.mode, workers, &self.handed_over)?;
                            (sockets, Some(file))
                        } else {
                            // The file of a service manager stays: it goes on listening there.
                            let ours = owner == Owner::ThisProcess;
                            let file = ours.then(|| SocketFile::of(path, &self.handed_over));
                            (socket::spread(found, workers)?, file)
                        };
                        (sockets, listener.address.clone(), file)
                    }
                };
                self.next += 1;
                let (process, ids) = (Arc::clone(&self.process), Arc::clone(&self.ids));
                let bound = Bound {
                    number: self.next,
                    written: listener.address.clone(),
                    listener: listener.name.clone(),
                    actual,
                    admission: Admission::new(process, listener.limits.connections, ids),
                    _file: file,
                };
                (bound, sockets)
            }
        };
        let (number, address, admission) = (bound.number, bound.actual.clone(), Arc::clone(&bound.admission));
        let mut by_worker: Vec<Vec<Listening>> = (0..workers).map(|_| Vec::new()).collect();
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
            if let Address::Unix(path) = &listener.address {
                let mode = std::fs::Permissions::from_mode(listener.mode);
                if let Err(error) = std::fs::set_permissions(path, mode) {
                    tracing::warn!(listener = listener.name, "the socket's permissions cannot be set: {error}");
                }
            }
        }
        self.bound = places.into_iter().map(|place| place.bound).collect();
    }
}

fn problem(listener: &Listener, error: &io::Error) -> Problem {
    let message = format!("listener \"{}\" cannot listen on {}: {error}", listener.name, listener.address);
    let path = format!("listeners.{:?}.address", listener.name);
    Problem::new(listener.origin.clone(), message).path(path).help(unbound(error))
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
        std::io::ErrorKind::AlreadyExists => "move the file away, or choose another path",
        std::io::ErrorKind::PermissionDenied => {
            "a port below 1024 needs CAP_NET_BIND_SERVICE, a socket in the file system a folder that may be written to"
        }
        _ => "choose another address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Format, load_text};

    #[test]
    fn an_address_that_somebody_has_is_known_without_listening() {
        let addresses = Addresses::new(10, Inherited::default(), Arc::default());
        let somebody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (taken, free) = (somebody.local_addr().unwrap(), nobody.local_addr().unwrap());
        drop(nobody);
        let text = format!(
            "listeners: {{ a.b: {{ address: '{taken}', cluster: app }}, b: {{ address: '{free}', cluster: app }}, c: {{ address: '127.0.0.1:0', cluster: app }} }}\nclusters: {{ app: {{ endpoints: ['127.0.0.1:1'] }} }}\n"
        );
        let config = load_text("test.yaml", &text, Format::Yaml, std::path::Path::new(".")).unwrap();
        let problems = addresses.problems(&config.listeners);
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(problem.path, "listeners.\"a.b\".address");
        assert!(problem.message.contains("cannot listen on"), "{}", problem.message);
    }
}
