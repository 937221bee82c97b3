//! Which server must serve an operation.
//!
//! Cursors and transactions live in one server; whoever goes on with one must reach that server, over any connection.
//! A [`PinTable`] learns from what passes and answers [`PinTable::route`]:
//!
//! - A **cursor** is pinned when a reply names it (`cursor.id` other than 0) by its namespace and id; unpinned when a
//!   `getMore` exhausts it, a server says that it is gone, or `killCursors` is sent; and when it was idle for too long.
//! - A **transaction** is pinned by session and number when its first command is sent; unpinned when its abort is sent,
//!   when a reply or failure says that it is gone, when the session does anything outside of it, or ends. The commit
//!   keeps the pin, for its retries, unless its outcome is unknown: then drivers may commit through another server.
//!
//! Pins are found from every worker: drivers of a mongos send a `getMore` over whichever connection is free. The table
//! of each worker keeps them in a [`Pins`] store which they share, and an index of those that it put there itself,
//! by which it bounds and expires them. Pins must be recorded before the reply goes on to the client: then no client can ask for
//! a pin that is not there yet.
//!
//! A pin that was lost costs no correctness, only the cursor or transaction: the operation goes where any other goes, and
//! the server there refuses with its own error. Pins carry a scope, the identity of the pool, so that cursors of
//! one are never looked for with another's credential.

mod codec;
mod index;
mod memory;
#[cfg(test)]
mod tests;
mod types;

use std::time::Duration;

use super::facts::{Labels, Reply};
use super::operation::{Kind, Operation};

pub use codec::Pin;
pub use memory::MemoryPins;
pub use types::{PinCounts, PinLimits, PinReason, Pins, Route};

use index::Index;

/// Longest namespace (a server's limit is 255 bytes), session id (16 in practice) and address that are pinned.
const MAX_NAME: usize = 255;
/// A server's error codes for a cursor that is gone: CursorNotFound, CursorKilled.
const CURSOR_GONE: [i32; 2] = [43, 237];

/// A worker's view of the pins of one pool.
#[derive(Debug)]
pub struct PinTable<S> {
    store: S,
    scope: Vec<u8>,
    limits: PinLimits,
    index: Index,
    counts: PinCounts,
}

impl<S: Pins> PinTable<S> {
    /// A table over a store. `scope` tells pools apart that share the store: cluster and identity; cut to 255 bytes.
    pub fn new(store: S, scope: &[u8], limits: PinLimits) -> Self {
        let scope = scope.get(..MAX_NAME).unwrap_or(scope).to_vec();
        Self { store, scope, limits, index: Index::default(), counts: PinCounts::default() }
    }

    /// What happened so far.
    pub fn counts(&self) -> PinCounts {
        self.counts
    }

    /// Pins that this table put into the store and that may still be there; for a gauge.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Where an operation must go. `now`: milliseconds of a clock that all workers share.
    pub fn route(&mut self, operation: &Operation, now: u64) -> Route {
        if operation.in_transaction && !operation.starts_transaction {
            let key = operation.session.as_deref().and_then(|session| self.session_key(session));
            let pin = key.and_then(|key| self.live(&key, now));
            if let Some(pin) = pin.filter(|pin| pin.txn_number == operation.txn_number) {
                return Route::Pinned { server: pin.server, reason: PinReason::Transaction, long_lived: false };
            }
            // An abort may come after its pin was dropped for good reason; the server answers it.
            if operation.cursors.is_empty() {
                self.counts.missing += u64::from(operation.kind != Kind::Abort);
                return Route::Free;
            }
        }
        let mut cursors = operation.cursors.iter();
        let pin = cursors.find_map(|id| {
            let key = self.cursor_key(operation.namespace.as_bytes(), *id)?;
            self.live(&key, now)
        });
        match pin {
            Some(pin) => Route::Pinned { server: pin.server, reason: PinReason::Cursor, long_lived: pin.long_lived },
            None if operation.cursors.is_empty() => self.ended_session(operation, now),
            None => {
                self.counts.missing += 1;
                Route::Free
            }
        }
    }

    /// Whether an operation goes on with what a server has. Counts nothing.
    pub fn has(&mut self, operation: &Operation, now: u64) -> bool {
        let missing = self.counts.missing;
        let route = self.route(operation, now);
        self.counts.missing = missing;
        route != Route::Free
    }

    /// Notes that an operation is about to be sent to a server. Call it before its first byte is written.
    pub fn forwarded(&mut self, operation: &Operation, server: &str, now: u64) {
        if let Some(key) = operation.session.as_deref().and_then(|session| self.session_key(session)) {
            if !operation.in_transaction {
                // Only those that this worker knows: a look-up in the store for each operation would cost more than
                // a pin that another worker lets expire.
                if self.index.contains(&key) {
                    self.drop_transaction(&key, operation.txn_number);
                }
            } else if operation.kind == Kind::Abort {
                self.drop_transaction(&key, operation.txn_number);
            } else if operation.starts_transaction {
                self.counts.transactions += 1;
                let pin = Pin::transaction(server, operation.txn_number);
                self.pin(key, pin, self.limits.transaction_idle, now);
            }
        }
        if operation.kind == Kind::KillCursors {
            for id in &operation.cursors {
                let Some(key) = self.cursor_key(operation.namespace.as_bytes(), *id) else { continue };
                // Those of other servers stay, for a `killCursors` of their own.
                if self.live(&key, now).is_some_and(|pin| pin.server == server) {
                    self.drop_pin(&key);
                }
            }
        }
        for session in &operation.sessions {
            if let Some(key) = self.session_key(session) {
                self.drop_pin(&key);
            }
        }
    }

    /// Learns from a reply. Call it before the reply's last byte goes to the client.
    pub fn replied(&mut self, operation: &Operation, server: &str, reply: &Reply<'_>, now: u64) {
        let gone = match operation.kind {
            Kind::Commit => {
                reply.labels.contains(Labels::UNKNOWN_COMMIT)
                    || reply.labels.contains(Labels::RETRYABLE_WRITE)
                    || reply.labels.contains(Labels::TRANSIENT_TRANSACTION)
            }
            _ => reply.labels.contains(Labels::TRANSIENT_TRANSACTION),
        };
        if gone {
            self.unpin_transaction(operation);
        }
        if operation.kind == Kind::GetMore {
            let ended = reply.cursor == Some(0) || reply.code.is_some_and(|code| CURSOR_GONE.contains(&code));
            if ended {
                for id in &operation.cursors {
                    if let Some(key) = self.cursor_key(operation.namespace.as_bytes(), *id) {
                        self.drop_pin(&key);
                    }
                }
            }
            return;
        }
        let (Some(id), Some(namespace)) = (reply.cursor.filter(|id| *id != 0), reply.namespace) else { return };
        match self.cursor_key(namespace.as_bytes(), id) {
            Some(key) => {
                self.counts.cursors += 1;
                self.pin(key, Pin::cursor(server, operation.long_lived), self.limits.cursor_idle, now);
            }
            None => self.counts.oversized += 1,
        }
    }

    /// Learns that the connection failed after the operation was sent to it.
    pub fn failed(&mut self, operation: &Operation) {
        // The driver hears that the transaction is gone, or that its commit's outcome is unknown.
        self.unpin_transaction(operation);
    }

    fn unpin_transaction(&mut self, operation: &Operation) {
        if !operation.in_transaction {
            return;
        }
        if let Some(key) = operation.session.as_deref().and_then(|session| self.session_key(session)) {
            self.drop_transaction(&key, operation.txn_number);
        }
    }

    /// `endSessions` goes where one of the sessions' transactions is open, so that it is aborted now and not later.
    fn ended_session(&mut self, operation: &Operation, now: u64) -> Route {
        let pin = operation.sessions.iter().find_map(|session| {
            let key = self.session_key(session).filter(|key| self.index.contains(key))?;
            self.live(&key, now)
        });
        pin.map_or(Route::Free, |pin| Route::Pinned {
            server: pin.server,
            reason: PinReason::Transaction,
            long_lived: false,
        })
    }

    /// The pin of a key, used now: its time starts again, rewritten only when a third of it is gone.
    fn live(&mut self, key: &[u8], now: u64) -> Option<Pin> {
        let pin = self.stored(key).filter(|pin| pin.expires > now)?;
        let idle = if pin.txn_number.is_some() { self.limits.transaction_idle } else { self.limits.cursor_idle };
        if pin.expires.saturating_sub(now) < milliseconds(idle) {
            self.pin(key.to_vec(), pin.clone(), idle, now);
        }
        Some(pin)
    }

    fn pin(&mut self, key: Vec<u8>, mut pin: Pin, idle: Duration, now: u64) {
        if pin.server.is_empty() || pin.server.len() > MAX_NAME {
            self.counts.oversized += 1;
            return;
        }
        self.make_room(&key, now);
        // Half as long again, so that not every use has to write.
        let idle = milliseconds(idle);
        pin.expires = now.saturating_add(idle).saturating_add(idle / 2);
        self.store.put(&key, &pin.encode(), pin.expires);
        self.index.set(key, pin.expires);
    }

    /// Forgets what expired, a few at a time, and what is too much.
    fn make_room(&mut self, key: &[u8], now: u64) {
        for _ in 0..8 {
            let Some(oldest) = self.index.first_before(now) else { break };
            match self.stored(&oldest) {
                // Another worker used it.
                Some(pin) if pin.expires > now => self.index.set(oldest, pin.expires),
                Some(_) => {
                    self.counts.expired += 1;
                    self.drop_pin(&oldest);
                }
                None => self.index.remove(&oldest),
            }
        }
        while !self.index.contains(key) && self.index.len() >= self.limits.capacity.max(1) {
            let Some(oldest) = self.index.first() else { break };
            self.counts.evicted += 1;
            self.drop_pin(&oldest);
        }
    }

    /// Unpins a session's transaction unless it is a later one than the operation's: numbers only grow, and an
    /// operation that waited for its connection may be late.
    fn drop_transaction(&mut self, key: &[u8], number: Option<i64>) {
        let later =
            self.stored(key).and_then(|pin| pin.txn_number).zip(number).is_some_and(|(pinned, number)| pinned > number);
        if !later {
            self.drop_pin(key);
        }
    }

    fn stored(&mut self, key: &[u8]) -> Option<Pin> {
        Pin::decode(&self.store.get(key)?)
    }

    fn drop_pin(&mut self, key: &[u8]) {
        self.store.remove(key);
        self.index.remove(key);
    }

    fn session_key(&mut self, session: &[u8]) -> Option<Vec<u8>> {
        codec::key(codec::SESSION, &self.scope, &[], session, MAX_NAME)
    }

    fn cursor_key(&mut self, namespace: &[u8], id: i64) -> Option<Vec<u8>> {
        codec::key(codec::CURSOR, &self.scope, &id.to_le_bytes(), namespace, MAX_NAME)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
