//! Open cursors of one server.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use bson::{Document, Uuid};

use crate::{
    error::{Failure, Result},
    query::{matching::Filter, projection::Projection},
    store::Stored,
    sync::lock,
};

/// What a cursor still has to return.
#[derive(Debug)]
pub(crate) enum Rest {
    /// Documents as they were when the cursor was opened.
    Stored(VecDeque<Arc<Stored>>, Projection),
    /// Results of a pipeline.
    Ready(VecDeque<Document>),
    /// A capped collection, after the document of that number.
    Tail { filter: Filter, projection: Projection, after: u64, wait: bool },
    /// Changes after that position that satisfy the pipeline.
    Changes { position: u64, stages: Vec<Document> },
}

/// An open cursor.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) namespace: String,
    pub(crate) session: Option<Uuid>,
    pub(crate) connection: i64,
    pub(crate) rest: Rest,
}

#[derive(Debug)]
struct Slot {
    namespace: String,
    session: Option<Uuid>,
    connection: i64,
    /// Absent while a getMore has it.
    cursor: Option<Cursor>,
}

/// The open cursors.
#[derive(Debug)]
pub(crate) struct Cursors {
    open: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    slots: HashMap<i64, Slot>,
    next: Option<i64>,
    opened: u64,
}

/// A cursor that a getMore has. Dropped without [`Borrowed::put_back`] it is gone, as after a disconnect.
#[derive(Debug)]
pub(crate) struct Borrowed<'a> {
    cursors: &'a Cursors,
    id: i64,
    returned: bool,
    pub(crate) cursor: Cursor,
}

impl Borrowed<'_> {
    /// Keeps the cursor open. If it was killed meanwhile it stays gone.
    pub(crate) fn put_back(mut self) {
        self.returned = true;
        let rest = std::mem::replace(&mut self.cursor.rest, Rest::Ready(VecDeque::new()));
        let cursor = Cursor { namespace: std::mem::take(&mut self.cursor.namespace), rest, ..self.cursor };
        if let Some(slot) = lock(&self.cursors.open).slots.get_mut(&self.id) {
            slot.cursor = Some(cursor);
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if !self.returned {
            lock(&self.cursors.open).slots.remove(&self.id);
        }
    }
}

impl Cursors {
    pub(crate) fn new(first: Option<i64>) -> Self {
        Self { open: Mutex::new(Table { slots: HashMap::new(), next: first, opened: 0 }) }
    }

    /// Keeps a cursor and returns its id, never 0.
    pub(crate) fn open(&self, cursor: Cursor) -> i64 {
        let mut table = lock(&self.open);
        table.opened += 1;
        let id = loop {
            let id = match table.next {
                Some(next) => {
                    table.next = Some(next + 1);
                    next
                }
                None => fastrand::i64(1..),
            };
            if id != 0 && !table.slots.contains_key(&id) {
                break id;
            }
        };
        let slot = Slot {
            namespace: cursor.namespace.clone(),
            session: cursor.session,
            connection: cursor.connection,
            cursor: Some(cursor),
        };
        table.slots.insert(id, slot);
        id
    }

    /// Takes a cursor for a getMore on that namespace in that session.
    pub(crate) fn borrow(&self, id: i64, namespace: &str, session: Option<Uuid>) -> Result<Borrowed<'_>> {
        let mut table = lock(&self.open);
        let slot = table.slots.get_mut(&id).ok_or_else(|| Failure::cursor_not_found(id))?;
        if slot.namespace != namespace {
            let message = format!(
                "Requested getMore on namespace '{namespace}', but cursor belongs to a different namespace {}",
                slot.namespace
            );
            return Err(Failure::new(13, message));
        }
        if slot.session != session {
            let name = |session: Option<Uuid>| session.map_or("none".to_owned(), |session| session.to_string());
            let message = format!(
                "Cannot run getMore on cursor {id}, which was created in session {}, in session {}",
                name(slot.session),
                name(session)
            );
            return Err(Failure::new(50738, message));
        }
        let Some(cursor) = slot.cursor.take() else {
            return Err(Failure::new(12051, format!("cursor id {id} is already in use")));
        };
        Ok(Borrowed { cursors: self, id, returned: false, cursor })
    }

    /// Closes a cursor; false if it is not open on that namespace.
    pub(crate) fn kill(&self, id: i64, namespace: &str) -> bool {
        let mut table = lock(&self.open);
        let known = table.slots.get(&id).is_some_and(|slot| slot.namespace == namespace);
        known && table.slots.remove(&id).is_some()
    }

    /// Whether a cursor that a getMore has was not killed meanwhile.
    pub(crate) fn is_open(&self, id: i64) -> bool {
        lock(&self.open).slots.contains_key(&id)
    }

    /// Closes every cursor that `choose` picks by session and connection.
    pub(crate) fn kill_where(&self, choose: impl Fn(Option<Uuid>, i64) -> bool) {
        lock(&self.open).slots.retain(|_, slot| !choose(slot.session, slot.connection));
    }

    /// Cursors open now, and ever opened.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let table = lock(&self.open);
        (table.slots.len(), table.opened)
    }
}
