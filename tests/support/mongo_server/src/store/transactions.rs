//! Multi-document transactions: begin, commit, abort.

use std::sync::Arc;

use bson::{Bson, Uuid};

use super::{ChangeKind, Data, Inner, Store, collection::Key};
use crate::{
    error::{Failure, Result, TRANSIENT},
    sync::lock,
};

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// The session's `txnNumber`.
    number: i64,
    /// The connection that began it.
    connection: i64,
    pub(super) id: u64,
    /// The logical time of its snapshot.
    pub(super) snapshot: u64,
    pub(super) data: Data,
    pub(super) writes: Vec<(String, Key)>,
}

impl Store {
    /// Begins a transaction; an older one of the session is aborted.
    pub(crate) fn begin(&self, server: usize, session: Uuid, number: i64, connection: i64) -> Result<()> {
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        match inner.transactions.get(&(server, session)).map(|open| open.number) {
            Some(open) if open == number => {
                return Err(Failure::new(50911, "Cannot start a transaction with a number that is in progress."));
            }
            Some(open) if open > number => return Err(too_old(number, open)),
            Some(_) => self.end(inner, server, session),
            None => {}
        }
        if let Some(last) = inner.committed.get(&session).filter(|last| **last >= number) {
            return Err(too_old(number, *last));
        }
        let reservations = &mut inner.reservations;
        reservations.last += 1;
        reservations.open += 1;
        let transaction = Transaction {
            number,
            connection,
            id: reservations.last,
            snapshot: reservations.clock,
            data: inner.data.clone(),
            writes: Vec::new(),
        };
        inner.transactions.insert((server, session), transaction);
        Ok(())
    }

    /// Succeeds if that transaction is open on that server.
    pub(crate) fn expect_open(&self, server: usize, session: Uuid, number: i64) -> Result<()> {
        let inner = lock(&self.inner);
        match inner.transactions.get(&(server, session)) {
            Some(open) if open.number == number => Ok(()),
            _ if inner.committed.get(&session) == Some(&number) => {
                Err(Failure::new(256, format!("Transaction with {{ txnNumber: {number} }} has been committed.")))
            }
            _ => Err(no_such_transaction(number)),
        }
    }

    /// Makes the writes of a transaction visible; repeating it succeeds.
    pub(crate) fn commit(&self, server: usize, session: Uuid, number: i64) -> Result<()> {
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        if inner.committed.get(&session) == Some(&number) {
            return Ok(());
        }
        match inner.transactions.get(&(server, session)) {
            Some(open) if open.number == number => {}
            _ => return Err(no_such_transaction(number)),
        }
        let Some(mut transaction) = inner.transactions.remove(&(server, session)) else { return Ok(()) };
        for (namespace, key) in &transaction.writes {
            inner.reservations.held.remove(&(namespace.clone(), Arc::clone(key)));
            let own = transaction.data.get(namespace);
            let after = own.and_then(|collection| collection.get(key)).map(Arc::clone);
            let options = own.map(|collection| collection.options.clone()).unwrap_or_default();
            let shared =
                inner.data.entry(namespace.clone()).or_insert_with(|| Arc::new(super::Collection::new(options)));
            let shared = Arc::make_mut(shared);
            let before = shared.get(key).map(Arc::clone);
            inner.reservations.note_write(namespace, key);
            let (kind, stored) = match (&before, after) {
                (None, Some(stored)) => (ChangeKind::Insert, Some(stored)),
                (Some(_), Some(stored)) => (ChangeKind::Update, Some(stored)),
                (Some(_), None) => (ChangeKind::Delete, None),
                (None, None) => continue,
            };
            match &stored {
                Some(stored) => {
                    shared.put(Arc::clone(stored));
                    shared.evict();
                }
                None => drop(shared.remove(key)),
            }
            let document = stored.as_ref().or(before.as_ref());
            let id = document.and_then(|stored| stored.document.get("_id").cloned()).unwrap_or(Bson::Null);
            inner.changes.push(namespace, kind, id, stored);
        }
        transaction.writes.clear();
        inner.committed.insert(session, number);
        self.close(inner);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Forgets a transaction.
    pub(crate) fn abort(&self, server: usize, session: Uuid, number: i64) -> Result<()> {
        let mut inner = lock(&self.inner);
        match inner.transactions.get(&(server, session)) {
            Some(open) if open.number == number => {}
            _ => return Err(no_such_transaction(number)),
        }
        self.end(&mut inner, server, session);
        Ok(())
    }

    /// Aborts the session's transaction on that server if it has one with a number below `below`.
    pub(crate) fn abort_older(&self, server: usize, session: Uuid, below: i64) {
        let mut inner = lock(&self.inner);
        if inner.transactions.get(&(server, session)).is_some_and(|open| open.number < below) {
            self.end(&mut inner, server, session);
        }
    }

    /// Aborts every transaction of a server that `choose` picks by session and connection.
    pub(crate) fn abort_where(&self, server: usize, choose: impl Fn(Uuid, i64) -> bool) {
        let mut inner = lock(&self.inner);
        let chosen: Vec<Uuid> = inner
            .transactions
            .iter()
            .filter(|((owner, session), open)| *owner == server && choose(*session, open.connection))
            .map(|((_, session), _)| *session)
            .collect();
        for session in chosen {
            self.end(&mut inner, server, session);
        }
    }

    /// Open transactions of all servers.
    pub(crate) fn open_transactions(&self) -> usize {
        lock(&self.inner).transactions.len()
    }

    fn end(&self, inner: &mut Inner, server: usize, session: Uuid) {
        let Some(transaction) = inner.transactions.remove(&(server, session)) else { return };
        for entry in transaction.writes {
            inner.reservations.held.remove(&entry);
        }
        self.close(inner);
    }

    fn close(&self, inner: &mut Inner) {
        inner.reservations.open = inner.reservations.open.saturating_sub(1);
        if inner.reservations.open == 0 {
            inner.reservations.written.clear();
        }
        self.released.notify_waiters();
    }
}

fn no_such_transaction(number: i64) -> Failure {
    let message = format!("Given transaction number {number} does not match any in-progress transactions.");
    Failure::new(251, message).label(TRANSIENT)
}

fn too_old(number: i64, known: i64) -> Failure {
    Failure::new(
        225,
        format!("Cannot start transaction {number} because a newer transaction {known} has already started."),
    )
}
