//! Takes connections, within limits.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use super::{
    connection,
    drain::Drain,
    overload::Flags,
    serving::{Serving, Taken},
    socket::Registered,
    tasks::Tasks,
};
use crate::{
    config::resolved::ListenerProtocol,
    http::runtime::ListenerRuntime,
    transport::{End, Socket},
};

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
    limit: AtomicUsize,
}

impl Count {
    /// None open.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { open: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    /// Changes how many there may be. Those that are open stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many there are, and how many there may be.
    #[must_use]
    pub fn read(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.limit.load(Ordering::Relaxed))
    }

    fn enter(&self) -> bool {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before >= self.limit.load(Ordering::Relaxed) {
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

    /// Changes the listener's limit.
    pub fn set_limit(&self, limit: usize) {
        self.listener.set_limit(limit);
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

/// A listener on one worker, for as long as it keeps its name and its protocol.
pub struct LocalListener {
    /// Its name.
    pub name: Rc<str>,
    /// What it spoke from the beginning, and will.
    pub protocol: ListenerProtocol,
    serving: RefCell<Rc<Serving>>,
    /// Limits.
    pub admission: Arc<Admission>,
    /// What to do less of.
    pub overload: Arc<Flags>,
    /// It, or the worker, is going away.
    pub drain: Drain,
    /// Its connections.
    pub tasks: Rc<Tasks>,
}

impl LocalListener {
    /// A listener that has just begun.
    #[must_use]
    pub fn new(serving: Serving, admission: Arc<Admission>, tasks: Rc<Tasks>) -> Rc<Self> {
        Rc::new(Self {
            name: serving.settings.name.as_str().into(),
            protocol: serving.settings.protocol,
            overload: Arc::clone(&serving.runtime.overload),
            serving: RefCell::new(Rc::new(serving)),
            admission,
            drain: Drain::default(),
            tasks,
        })
    }

    /// What a new connection begins on.
    #[must_use]
    pub fn serving(&self) -> Rc<Serving> {
        Rc::clone(&self.serving.borrow())
    }

    /// What a new stream begins on, of a connection that has taken a chain. `None`: that chain is gone.
    #[must_use]
    pub fn current_of(&self, taken: Taken) -> Option<Rc<ListenerRuntime>> {
        self.serving.borrow().runtime_of(taken).map(Rc::clone)
    }

    /// What is the listener's own.
    #[must_use]
    pub fn current(&self) -> Rc<ListenerRuntime> {
        Rc::clone(&self.serving.borrow().runtime)
    }

    /// The next generation's part. What has begun goes on as it was.
    pub fn serve(&self, serving: Serving) {
        self.serving.replace(Rc::new(serving));
    }
}

/// An address that is listened on, on one worker. Who serves what comes in there may change.
pub struct Gate {
    /// Who does now.
    listener: RefCell<Rc<LocalListener>>,
    closing: Drain,
}

impl Gate {
    /// Opens it.
    #[must_use]
    pub fn new(listener: Rc<LocalListener>) -> Rc<Self> {
        Rc::new(Self { listener: RefCell::new(listener), closing: Drain::default() })
    }

    /// Who serves what comes in.
    #[must_use]
    pub fn listener(&self) -> Rc<LocalListener> {
        Rc::clone(&self.listener.borrow())
    }

    /// Another one serves from now on. Returns the one before.
    pub fn hand_over(&self, listener: Rc<LocalListener>) -> Rc<LocalListener> {
        self.listener.replace(listener)
    }

    /// Takes no more but what is in the queue already.
    pub fn close(&self) {
        self.closing.begin();
    }
}

/// How often it is looked whether connections may be taken again.
const LOOK: Duration = Duration::from_millis(50);

/// Accepts until the gate closes, and then what is in the queue already: closing a socket resets those who wait there. While the process is
/// overloaded they wait.
pub async fn run(gate: Rc<Gate>, socket: Registered, overload: Arc<Flags>) {
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = accept(&socket, &overload) => accepted,
            () = gate.closing.begun() => {
                let Ok(socket) = socket.into_std() else { return };
                loop {
                    match socket.accept() {
                        Ok((stream, remote)) => begin(&gate, stream, remote),
                        // That one has gone, or was in the way; there may be others behind it.
                        Err(error)
                            if matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::Interrupted) => {}
                        Err(_) => return,
                    }
                }
            }
        };
        match accepted {
            Ok((stream, remote)) => begin(&gate, stream, remote),
            Err(error) => {
                // Out of files, most likely: wait for some to be closed rather than spin.
                tracing::error!(
                    listener = &*gate.listener().name,
                    "cannot accept: {error}; raise the limit of open files (ulimit -n) or lower `limits.connections`"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Takes one connection, as soon as there is one and it may be taken. Cancel safe.
async fn accept(socket: &Registered, overload: &Flags) -> io::Result<(Socket, End)> {
    loop {
        let accepted = poll_fn(|cx| {
            // Looked at when a connection is there: it may have come while nobody asked.
            if overload.load().stops_accepting() {
                return Poll::Ready(None);
            }
            socket.poll_accept(cx).map(Some)
        });
        match accepted.await {
            Some(accepted) => return accepted,
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

fn begin(gate: &Gate, stream: Socket, remote: End) {
    let listener = gate.listener();
    let runtime = listener.current();
    let Some(entered) = listener.admission.enter() else {
        // Closing at once tells the client more than a connection that nobody reads.
        runtime.metrics.refused_limit.inc();
        return;
    };
    runtime.metrics.accepted.inc();
    // Counted before its task has run: a drain that begins now has to know of it.
    let counted = connection::Counted::new(Rc::clone(&runtime.metrics));
    let tasks = Rc::clone(&listener.tasks);
    tasks.spawn(connection::serve(listener, stream, remote, (entered, counted)));
}
