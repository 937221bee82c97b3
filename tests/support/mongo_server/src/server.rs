//! A server: its listener, its connections, its switches.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, Ordering},
    },
};

use bson::oid::ObjectId;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    auth::Users,
    connection,
    counts::{ConnectionCounts, Counts},
    cursors::Cursors,
    deployment::Group,
    faults::Faults,
    log::CommandLog,
    options::Options,
    sync::lock,
};

/// Messages that could not be read; so many are kept.
const MOST_WIRE_ERRORS: usize = 100;

/// What the connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Which member of its deployment it is.
    pub(crate) index: usize,
    pub(crate) options: Arc<Options>,
    pub(crate) group: Arc<Group>,
    pub(crate) address: SocketAddr,
    /// Identity in `topologyVersion`.
    pub(crate) process: ObjectId,
    /// Identity towards clients behind a load balancer.
    pub(crate) service: ObjectId,
    pub(crate) users: Arc<Users>,
    pub(crate) cursors: Cursors,
    pub(crate) faults: Faults,
    pub(crate) log: CommandLog,
    pub(crate) counts: Counts,
    frozen: watch::Sender<bool>,
    kicks: watch::Sender<u64>,
    wire_errors: Mutex<Vec<String>>,
    next_reply: AtomicI32,
}

impl Shared {
    /// Waits while the server is frozen.
    pub(crate) async fn thawed(&self) {
        if *self.frozen.borrow() {
            let _ = self.frozen.subscribe().wait_for(|frozen| !frozen).await;
        }
    }

    /// A `requestID` for a reply.
    pub(crate) fn reply_id(&self) -> i32 {
        self.next_reply.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes when every connection is to be cut.
    pub(crate) fn kicks(&self) -> watch::Receiver<u64> {
        self.kicks.subscribe()
    }

    pub(crate) fn wire_error(&self, message: String) {
        let mut errors = lock(&self.wire_errors);
        if errors.len() < MOST_WIRE_ERRORS {
            errors.push(message);
        }
    }

    pub(crate) fn wire_errors(&self) -> Vec<String> {
        lock(&self.wire_errors).clone()
    }
}

/// A running server. Dropping it closes its listener and its connections.
pub struct MongoServer {
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl MongoServer {
    /// Starts a server with data of its own.
    ///
    /// # Errors
    /// If the port is taken or the certificate cannot be read.
    pub async fn start(options: Options) -> io::Result<Self> {
        let users = Arc::new(Users::new(&options.users, options.iterations));
        let tls = options.tls.as_ref().map(|(certificate, key)| crate::tls::acceptor(certificate, key)).transpose()?;
        Self::join(Arc::new(options), Arc::new(Group::default()), users, tls, 0).await
    }

    /// Starts member `index` of a group.
    pub(crate) async fn join(
        options: Arc<Options>,
        group: Arc<Group>,
        users: Arc<Users>,
        tls: Option<TlsAcceptor>,
        index: usize,
    ) -> io::Result<Self> {
        let port = match options.port {
            0 => 0,
            first => first.saturating_add(u16::try_from(index).unwrap_or(u16::MAX)),
        };
        let listener = TcpListener::bind((options.host.as_str(), port)).await?;
        let address = listener.local_addr()?;
        group.add_member(options.advertise.get(index).cloned().unwrap_or_else(|| address.to_string()));
        let shared = Arc::new(Shared {
            index,
            group,
            address,
            process: ObjectId::new(),
            service: ObjectId::new(),
            users,
            cursors: Cursors::new(options.first_cursor),
            faults: Faults::default(),
            log: CommandLog::new(options.log_capacity),
            counts: Counts::default(),
            frozen: watch::Sender::new(false),
            kicks: watch::Sender::new(0),
            wire_errors: Mutex::default(),
            next_reply: AtomicI32::new(1),
            options,
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared), tls.clone()));
        Ok(Self { shared, tls, task: Mutex::new(Some(task)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// A connection string for this server alone, with the first user if there are any.
    pub fn uri(&self) -> String {
        let user = match self.shared.options.users.first() {
            Some((name, password)) => format!("{name}:{password}@"),
            None => String::new(),
        };
        format!("mongodb://{user}{}/?directConnection=true", self.address())
    }

    /// Its commands.
    pub fn log(&self) -> &CommandLog {
        &self.shared.log
    }

    /// Its faults.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Its connections.
    pub fn connections(&self) -> ConnectionCounts {
        self.shared.counts.snapshot()
    }

    /// Cursors that are open, and how many were ever opened.
    pub fn cursors(&self) -> (usize, u64) {
        self.shared.cursors.counts()
    }

    /// Transactions that are open in the deployment.
    pub fn open_transactions(&self) -> usize {
        self.shared.group.store.open_transactions()
    }

    /// What was wrong with messages that could not be read, at most a hundred.
    pub fn wire_errors(&self) -> Vec<String> {
        self.shared.wire_errors()
    }

    /// Stops answering, but keeps every connection, as if the process were stopped by a signal.
    pub fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    /// Goes on after [`MongoServer::freeze`].
    pub fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// Cuts every connection, but goes on listening.
    pub fn disconnect_all(&self) {
        self.shared.kicks.send_modify(|kicks| *kicks += 1);
    }

    /// Dies: the listener and all connections are closed; data stay. Cursors and open transactions are lost.
    pub async fn stop(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
        self.shared.cursors.kill_where(|_, _| true);
        self.shared.group.store.abort_where(self.shared.index, |_, _| true);
    }

    /// Listens again on the same port after [`MongoServer::stop`]. Does nothing if it runs.
    ///
    /// # Errors
    /// If the port was taken meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        if lock(&self.task).is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.address()).await?;
        let task = tokio::spawn(accept(listener, Arc::clone(&self.shared), self.tls.clone()));
        *lock(&self.task) = Some(task);
        Ok(())
    }
}

impl std::fmt::Debug for MongoServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MongoServer").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl Drop for MongoServer {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

// Connections are tasks of this task, so that all of them end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let mut tasks = JoinSet::new();
    loop {
        shared.thawed().await;
        tokio::select! {
            accepted = listener.accept() => {
                // Out of descriptors, or gone before it was accepted: the next one may fare better.
                let Ok((stream, peer)) = accepted else { tokio::task::yield_now().await; continue };
                let most = shared.options.max_connections.unwrap_or(usize::MAX);
                if shared.counts.refuses(most) {
                    continue;
                }
                let entered = connection::Peer::new(Arc::clone(&shared), shared.counts.enter(), peer);
                tasks.spawn(greet(stream, entered, tls.clone()));
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn greet(stream: TcpStream, peer: connection::Peer, tls: Option<TlsAcceptor>) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => connection::serve(stream, peer).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                connection::serve(stream, peer).await;
            }
        }
    }
}
