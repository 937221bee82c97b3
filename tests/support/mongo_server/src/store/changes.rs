//! The history that change streams read: bounded in number and bytes.

use std::{collections::VecDeque, sync::Arc};

use bson::{Bson, Document};

use super::Stored;

const MOST: usize = 10_000;
const MOST_BYTES: usize = 64 << 20;

/// What happened to a document or a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Insert,
    Update,
    Delete,
    Drop,
}

/// One change.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Positions grow by one with every change.
    pub(crate) position: u64,
    pub(crate) namespace: String,
    pub(crate) kind: ChangeKind,
    pub(crate) id: Bson,
    /// The document afterwards.
    pub(crate) stored: Option<Arc<Stored>>,
}

impl Change {
    /// `documentKey`.
    pub(crate) fn document_key(&self) -> Document {
        bson::doc! { "_id": self.id.clone() }
    }

    fn size(&self) -> usize {
        self.stored.as_ref().map_or(0, |stored| stored.size)
    }
}

/// The last changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    kept: VecDeque<Change>,
    bytes: usize,
    last: u64,
}

impl Changes {
    pub(crate) fn push(&mut self, namespace: &str, kind: ChangeKind, id: Bson, stored: Option<Arc<Stored>>) {
        self.last += 1;
        let change = Change { position: self.last, namespace: namespace.to_owned(), kind, id, stored };
        self.bytes += change.size();
        self.kept.push_back(change);
        while self.kept.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.size());
        }
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Changes after `position`, or `None` if some of them were forgotten.
    pub(crate) fn after(&self, position: u64) -> Option<Vec<Change>> {
        if position >= self.last {
            return Some(Vec::new());
        }
        let oldest = self.last - self.kept.len() as u64;
        let skip = usize::try_from(position.checked_sub(oldest)?).ok()?;
        Some(self.kept.iter().skip(skip).cloned().collect())
    }
}
