//! The data behind one or several servers.
//!
//! One lock guards everything. Collections are persistent maps, so a transaction takes its snapshot by a clone that
//! copies no document; it writes to its clone, and commit repeats its writes on the shared data. A document that an open transaction has
//! written is reserved: another transaction that writes it fails with WriteConflict at once, a plain write waits.

mod changes;
mod collection;
mod retries;
#[cfg(test)]
mod tests;
mod transactions;
mod view;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use bson::Uuid;
use tokio::{sync::Notify, time::Instant};

use self::{changes::Changes, retries::Retries, transactions::Transaction, view::Reservations};
pub(crate) use self::{
    changes::{Change, ChangeKind},
    collection::{Collection, Stored},
    retries::Attempt,
    view::View,
};
use crate::{
    error::{Failure, Result},
    sync::lock,
};

/// How long a plain write waits for a transaction to end, if the command has no `maxTimeMS`.
const BLOCKED: Duration = Duration::from_secs(30);

/// Collections by `database.collection`.
pub(crate) type Data = BTreeMap<String, Arc<Collection>>;

/// Which data an operation sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The shared data.
    Plain,
    /// The snapshot and the writes of the session's transaction on that server.
    Transaction { server: usize, session: Uuid },
}

/// Why an operation on the data stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failure(Failure),
    /// A transaction has written the document; nothing was changed, try again when a transaction ends.
    Blocked,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Shared data, with its transactions and its history.
#[derive(Debug, Default)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// Something was written.
    pub(crate) changed: Notify,
    /// A transaction or a retryable write ended.
    released: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    data: Data,
    reservations: Reservations,
    changes: Changes,
    transactions: HashMap<(usize, Uuid), Transaction>,
    /// The last transaction that each session has committed.
    committed: HashMap<Uuid, i64>,
    retries: Retries,
}

impl Store {
    /// Runs `operation` on the data that `scope` sees, without waiting.
    pub(crate) fn with<T>(
        &self,
        scope: Scope,
        operation: impl FnOnce(&mut View<'_>) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let (result, wrote) = match scope {
            Scope::Plain => {
                let mut view = View::plain(&mut inner.data, &mut inner.reservations, &mut inner.changes);
                let result = operation(&mut view);
                (result, view.wrote())
            }
            Scope::Transaction { server, session } => {
                let Some(transaction) = inner.transactions.get_mut(&(server, session)) else {
                    return Err(Stop::Failure(Failure::new(251, "the transaction has been aborted")));
                };
                let mut view = transaction.view(&mut inner.reservations, &mut inner.changes);
                (operation(&mut view), false)
            }
        };
        drop(guard);
        if wrote {
            self.changed.notify_waiters();
        }
        result
    }

    /// Reads; nothing can block it.
    pub(crate) fn read<T>(&self, scope: Scope, operation: impl FnOnce(&mut View<'_>) -> Result<T>) -> Result<T> {
        match self.with(scope, |view| operation(view).map_err(Stop::Failure)) {
            Ok(value) => Ok(value),
            Err(Stop::Failure(failure)) => Err(failure),
            Err(Stop::Blocked) => Err(Failure::write_conflict()),
        }
    }

    /// Changes collections, which no transaction reserves, and wakes those who wait for changes.
    pub(crate) fn change<T>(&self, scope: Scope, operation: impl FnOnce(&mut View<'_>) -> Result<T>) -> Result<T> {
        let result = self.read(scope, operation);
        self.changed.notify_waiters();
        result
    }

    /// Writes; waits while a transaction holds a document that it needs, until `limit` (thirty seconds if `None`).
    pub(crate) async fn write<T>(
        &self,
        scope: Scope,
        limit: Option<Duration>,
        mut operation: impl FnMut(&mut View<'_>) -> Result<T, Stop>,
    ) -> Result<T> {
        match self.with(scope, &mut operation) {
            Ok(value) => return Ok(value),
            Err(Stop::Failure(failure)) => return Err(failure),
            Err(Stop::Blocked) => {}
        }
        let deadline = Instant::now() + limit.unwrap_or(BLOCKED);
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            match self.with(scope, &mut operation) {
                Ok(value) => return Ok(value),
                Err(Stop::Failure(failure)) => return Err(failure),
                Err(Stop::Blocked) if tokio::time::timeout_at(deadline, released).await.is_err() => {
                    return Err(Failure::new(50, "operation exceeded time limit"));
                }
                Err(Stop::Blocked) => {}
            }
        }
    }

    /// Changes after `position` that are still known, or `None` if some were forgotten.
    pub(crate) fn changes_after(&self, position: u64) -> Option<Vec<Change>> {
        lock(&self.inner).changes.after(position)
    }

    /// The position of the last change.
    pub(crate) fn position(&self) -> u64 {
        lock(&self.inner).changes.last()
    }

    /// Forgets every collection, transaction and retryable write.
    pub(crate) fn clear(&self) {
        *lock(&self.inner) = Inner::default();
        self.released.notify_waiters();
        self.changed.notify_waiters();
    }
}
