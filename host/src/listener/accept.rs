//! Takes connections, within limits.

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};

use super::{connection, drain::Drain};
use crate::{config::resolved::Listener, http::runtime::ListenerRuntime};

/// Connections of the process and of one listener, shared by the workers.
#[derive(Debug)]
pub struct Admission {
    process: Arc<Count>,
    listener: Count,
    ids: Arc<AtomicU64>,
}

/// How many there are, and how many there may be.
#[derive(Debug)]
pub struct Count {
    open: AtomicUsize,
    limit: usize,
}

impl Count {
    /// None open.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { open: AtomicUsize::new(0), limit }
    }

    fn enter(&self) -> bool {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before >= self.limit {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// For one listener of the process.
    #[must_use]
    pub fn new(process: Arc<Count>, limit: usize, ids: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { process, listener: Count::new(limit), ids })
    }

    /// Room for one more connection, until the value is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Entered> {
        if !self.process.enter() {
            return None;
        }
        if !self.listener.enter() {
            self.process.leave();
            return None;
        }
        Some(Entered { admission: Arc::clone(self), id: self.ids.fetch_add(1, Ordering::Relaxed) })
    }
}

/// One admitted connection.
#[derive(Debug)]
pub struct Entered {
    admission: Arc<Admission>,
    /// Unique within the process.
    pub id: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.admission.listener.leave();
        self.admission.process.leave();
    }
}

/// A listener on one worker: what changes with a generation is behind `runtime`.
pub struct LocalListener {
    /// Its name.
    pub name: Rc<str>,
    /// Settings that do not change.
    pub settings: Arc<Listener>,
    /// TLS, when configured.
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    /// Chain, limits and surroundings of new streams.
    pub runtime: RefCell<Rc<ListenerRuntime>>,
    /// Limits.
    pub admission: Arc<Admission>,
    /// Draining.
    pub drain: Drain,
}

impl LocalListener {
    /// What a new stream begins on.
    #[must_use]
    pub fn current(&self) -> Rc<ListenerRuntime> {
        Rc::clone(&self.runtime.borrow())
    }
}

/// Accepts until the worker drains, and then what is in the queue already: closing a socket resets those who wait there.
pub async fn run(listener: Rc<LocalListener>, socket: TcpListener) {
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = listener.drain.begun() => {
                let Ok(socket) = socket.into_std() else { return };
                while let Ok((stream, remote)) = socket.accept() {
                    let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    if let Ok(stream) = stream {
                        begin(&listener, stream, remote);
                    }
                }
                return;
            }
        };
        match accepted {
            Ok((stream, remote)) => begin(&listener, stream, remote),
            Err(error) => {
                // Out of files, most likely: wait for some to be closed rather than spin.
                tracing::error!(
                    listener = &*listener.name,
                    "cannot accept: {error}; raise the limit of open files (ulimit -n) or lower `limits.connections`"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn begin(listener: &Rc<LocalListener>, stream: TcpStream, remote: SocketAddr) {
    let runtime = listener.current();
    let Some(entered) = listener.admission.enter() else {
        // Closing at once tells the client more than a connection that nobody reads.
        runtime.metrics.refused_limit.inc();
        return;
    };
    runtime.metrics.accepted.inc();
    // Counted before its task has run: a drain that begins now has to know of it.
    let counted = connection::Counted::new(Rc::clone(&runtime.metrics));
    tokio::task::spawn_local(connection::serve(Rc::clone(listener), stream, remote, (entered, counted)));
}
