//! Connections that are lent to many clients in turn, one exchange at a time (`fyke.upstream.lease.v1`).
//!
//! A cluster keeps connections that a filter has made fit to be lent, apart by whose they are ([`Key`]). Whoever borrows one gets an idle one, or
//! waits: in a queue that is fair to clients, while a connection is opened for it, a few to each endpoint at a time. One that comes back, or
//! was opened, goes to the first that it suits; whoever is left without then gets another one opened. A connection is idle only when it
//! suits nobody who waits, so that whoever comes later may have it at once; and where there may be no more of them, one is closed now and then in
//! favour of whoever waits for another kind. The circuit breakers of the cluster bound connections and waiters, over all workers.

mod borrow;
mod line;
mod open;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use self::line::Kept;
pub use self::line::Lent;
pub(super) use self::line::{PRIORITY, Shares};
use self::queue::Queue;
use super::{
    Choice,
    connect::Ends,
    error::{ClusterError, Limit},
    pool::LocalEndpoint,
    sweep::Sweep,
};
use crate::{telemetry::Gauge, transport::Transport};

/// Whose a connection is: it is lent to nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The filter that has made it fit to be lent.
    pub owner: Box<str>,
    /// As whom it is known to the endpoint.
    pub identity: Box<[u8]>,
    /// The part of the connections that it belongs to; empty for the usual one.
    pub share: Box<str>,
}

/// Makes a new connection fit to be lent: the handshake of the protocol that it is for.
pub trait Prepare {
    /// Takes a connection and gives it back when it is ready. Cancel safe: dropped, the connection is closed.
    fn prepare(
        &self,
        transport: Transport,
        address: SocketAddr,
        ends: Ends,
    ) -> LocalBoxFuture<'static, Result<Transport, String>>;
}

/// What a borrower asks for.
#[derive(Clone)]
pub struct Ask {
    /// Whose connection it is to be.
    pub key: Rc<Key>,
    /// To which endpoint.
    pub choice: Choice,
    /// Who asks: waiting is fair among them.
    pub client: u64,
    /// Connections that the key's share may have in the process, other limits apart; `None`: as many as the others.
    pub most: Option<u32>,
    /// How long to wait. `None`: as long as `connect_timeout`.
    pub timeout: Option<Duration>,
    /// Makes new connections ready.
    pub prepare: Rc<dyn Prepare>,
}

/// Why nothing is lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it is.
    pub reason: Reason,
    /// For people.
    pub text: String,
}

/// Kinds of [`Refusal`]; the numbers are those of `fyke.upstream.lease.v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// No endpoint suits.
    NoEndpoint = 1,
    /// Too many wait already, or the share has as many connections as it may have.
    Full = 2,
    /// None came free in time.
    Timeout = 3,
    /// An endpoint could not be connected to.
    Connect = 4,
    /// It was connected to, and the filter did not make the connection ready.
    Handshake = 5,
    /// There is no such cluster.
    UnknownCluster = 6,
}

impl Reason {
    /// The word for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Full => "full",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::UnknownCluster => "unknown_cluster",
        }
    }
}

impl From<ClusterError> for Refusal {
    fn from(error: ClusterError) -> Self {
        let reason = match &error {
            ClusterError::NoEndpoint { .. } => Reason::NoEndpoint,
            ClusterError::Overflow { limit: Limit::Connections, .. } => Reason::Timeout,
            ClusterError::Overflow { .. } => Reason::Full,
            ClusterError::ConnectTimeout { .. }
            | ClusterError::Connect { .. }
            | ClusterError::Tls { .. }
            | ClusterError::Handshake { .. } => Reason::Connect,
        };
        Self { reason, text: error.to_string() }
    }
}

/// One that waits.
struct Waiter {
    ask: Ask,
    /// Where a connection is to be opened for it; nowhere, once somebody does that.
    target: RefCell<Option<Rc<LocalEndpoint>>>,
    /// Since when, and until when.
    since: Instant,
    limit: Duration,
    /// Room was made for its connection, or it has a permit.
    has_room: Cell<bool>,
    reply: oneshot::Sender<Result<Lent, Refusal>>,
}

impl Waiter {
    /// Whether a connection to this endpoint is still to be opened for it.
    fn awaits(&self, endpoint: &Rc<LocalEndpoint>) -> bool {
        self.target.borrow().as_ref().is_some_and(|target| Rc::ptr_eq(target, endpoint))
    }
}

/// What a worker lends of a cluster.
#[derive(Default)]
pub(super) struct Lending {
    queue: RefCell<Queue<Waiter>>,
    idle: RefCell<VecDeque<Kept>>,
    /// Connections in a row that went past the first who waited, because they do not suit it.
    passed: Cell<u32>,
    /// Somebody has stopped waiting.
    left: Notify,
}

impl std::fmt::Debug for Lending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lending").field("idle", &self.idle.borrow().len()).finish_non_exhaustive()
    }
}

impl Lending {
    /// Closes the connection that has been idle for the longest time. Returns whether there was one. `gauge` counts idle connections.
    pub fn close_one_idle(&self, gauge: &Gauge) -> bool {
        // Dropped when nothing is borrowed any more: a connection that is gone may wake whoever waits for one.
        let oldest = self.idle.borrow_mut().pop_front();
        gauge.sub(oldest.is_some().into());
        oldest.is_some()
    }

    /// Closes every idle connection.
    pub fn close_idle(&self, gauge: &Gauge) {
        let all = std::mem::take(&mut *self.idle.borrow_mut());
        gauge.sub(i64::try_from(all.len()).unwrap_or(0));
    }

    /// Closes what may not stay.
    pub fn sweep(&self, sweep: Sweep, gauge: &Gauge) {
        let all = std::mem::take(&mut *self.idle.borrow_mut());
        let before = all.len();
        let stay: VecDeque<Kept> =
            all.into_iter().filter_map(|mut kept| kept.may_stay(sweep).then_some(kept)).collect();
        gauge.sub(i64::try_from(before - stay.len()).unwrap_or(0));
        self.idle.replace(stay);
    }
}
