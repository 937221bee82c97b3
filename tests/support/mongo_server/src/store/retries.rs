//! Retryable writes: a write that comes again under its `txnNumber` is answered as before, not executed again.

use std::{collections::HashMap, sync::Arc};

use bson::{Document, Uuid};

use super::Store;
use crate::{
    error::{Failure, Result},
    sync::lock,
};

/// Sessions whose last write is remembered; beyond it all are forgotten.
const MOST: usize = 200_000;

/// The last retryable write of each session.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    last: HashMap<Uuid, (i64, State)>,
}

#[derive(Debug, Clone)]
enum State {
    Running,
    Done(Arc<Document>),
}

/// What to do with a write that carries a `txnNumber`.
#[derive(Debug)]
pub(crate) enum Attempt<'a> {
    /// Execute it, and say how it ended.
    Execute(Execution<'a>),
    /// It was executed before: this was the reply.
    Repeat(Arc<Document>),
}

/// A write under way. Dropped without [`Execution::done`] it counts as never executed.
#[derive(Debug)]
pub(crate) struct Execution<'a> {
    store: &'a Store,
    session: Uuid,
    number: i64,
    finished: bool,
}

impl Execution<'_> {
    /// Remembers the reply.
    pub(crate) fn done(mut self, reply: Document) {
        self.finished = true;
        lock(&self.store.inner).retries.last.insert(self.session, (self.number, State::Done(Arc::new(reply))));
        self.store.released.notify_waiters();
    }
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let mut inner = lock(&self.store.inner);
            if inner.retries.last.get(&self.session).is_some_and(|(number, _)| *number == self.number) {
                inner.retries.last.remove(&self.session);
            }
            drop(inner);
            self.store.released.notify_waiters();
        }
    }
}

impl Store {
    /// Decides whether a retryable write is new; waits while the same write is under way on another connection.
    pub(crate) async fn attempt(&self, session: Uuid, number: i64) -> Result<Attempt<'_>> {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            {
                let mut inner = lock(&self.inner);
                let last = &mut inner.retries.last;
                match last.get(&session).cloned() {
                    Some((known, State::Done(reply))) if known == number => return Ok(Attempt::Repeat(reply)),
                    Some((known, State::Running)) if known == number => {}
                    Some((known, _)) if known > number => {
                        let message = format!(
                            "Retryable write with txnNumber {number} is prohibited because a newer one with txnNumber {known} has already started"
                        );
                        return Err(Failure::new(225, message));
                    }
                    _ => {
                        if last.len() >= MOST {
                            last.clear();
                        }
                        last.insert(session, (number, State::Running));
                        return Ok(Attempt::Execute(Execution { store: self, session, number, finished: false }));
                    }
                }
            }
            released.await;
        }
    }

    /// Forgets the session's last write and transaction.
    pub(crate) fn forget_session(&self, session: Uuid) {
        let mut inner = lock(&self.inner);
        inner.retries.last.remove(&session);
        inner.committed.remove(&session);
    }
}
