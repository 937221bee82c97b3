//! Reading and writing the data, inside a transaction or not.

use std::{collections::HashMap, sync::Arc};

use bson::{Bson, Document};

use super::{
    Collection, Data, Stop, Stored,
    changes::{ChangeKind, Changes},
    collection::Key,
    transactions::Transaction,
};
use crate::error::{Failure, Result};

/// Which documents open transactions have written, and which were written while transactions were open.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    /// Number of the transaction that has written the document.
    pub(crate) held: HashMap<(String, Key), u64>,
    /// Time of the last write to a document; kept only while transactions are open.
    pub(crate) written: HashMap<(String, Key), u64>,
    /// Logical time: grows with every write.
    pub(crate) clock: u64,
    /// Open transactions.
    pub(crate) open: usize,
    /// Number of the last transaction.
    pub(crate) last: u64,
}

impl Reservations {
    pub(super) fn note_write(&mut self, namespace: &str, key: &Key) {
        self.clock += 1;
        if self.open > 0 {
            self.written.insert((namespace.to_owned(), Arc::clone(key)), self.clock);
        }
    }
}

/// What a transaction has written, in order.
#[derive(Debug)]
pub(crate) struct Own<'a> {
    pub(super) id: u64,
    pub(super) snapshot: u64,
    pub(super) writes: &'a mut Vec<(String, Key)>,
}

/// The data of one scope, under the store's lock.
#[derive(Debug)]
pub(crate) struct View<'a> {
    data: &'a mut Data,
    own: Option<Own<'a>>,
    reservations: &'a mut Reservations,
    changes: &'a mut Changes,
    wrote: bool,
}

impl<'a> View<'a> {
    pub(super) fn plain(data: &'a mut Data, reservations: &'a mut Reservations, changes: &'a mut Changes) -> Self {
        Self { data, own: None, reservations, changes, wrote: false }
    }

    pub(super) fn wrote(&self) -> bool {
        self.wrote
    }

    /// The collection, if it exists.
    pub(crate) fn collection(&self, namespace: &str) -> Option<&Arc<Collection>> {
        self.data.get(namespace)
    }

    /// Every collection of a database.
    pub(crate) fn collections(&self, database: &str) -> impl Iterator<Item = (&str, &Arc<Collection>)> {
        let prefix = format!("{database}.");
        self.data.iter().filter_map(move |(namespace, collection)| Some((namespace.strip_prefix(&prefix)?, collection)))
    }

    /// Names of the databases that have a collection.
    pub(crate) fn databases(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.data.keys().filter_map(|namespace| Some(namespace.split_once('.')?.0.to_owned())).collect();
        names.dedup();
        names
    }

    /// Fails if the document may not be written now. Nothing is changed, so that a command checks all its documents first.
    pub(crate) fn check(&self, namespace: &str, key: &Key) -> Result<(), Stop> {
        if self.reservations.held.is_empty() && self.reservations.written.is_empty() {
            return Ok(());
        }
        let entry = (namespace.to_owned(), Arc::clone(key));
        let holder = self.reservations.held.get(&entry);
        match &self.own {
            None if holder.is_some() => Err(Stop::Blocked),
            None => Ok(()),
            Some(own) if holder == Some(&own.id) => Ok(()),
            Some(own) => {
                let later = self.reservations.written.get(&entry).is_some_and(|time| *time > own.snapshot);
                if holder.is_some() || later { Err(Stop::Failure(Failure::write_conflict())) } else { Ok(()) }
            }
        }
    }

    /// Inserts; fails if the `_id` or a unique key exists.
    pub(crate) fn insert(&mut self, namespace: &str, stored: &Arc<Stored>) -> Result<(), Stop> {
        self.check(namespace, &stored.key)?;
        if let Some(collection) = self.collection(namespace) {
            if let Some(known) = collection.get(&stored.key) {
                let id = known.document.get("_id").cloned().unwrap_or(Bson::Null);
                return Err(Failure::duplicate_key(namespace, "_id_", bson::doc! { "_id": id }).into());
            }
            if let Some((index, key)) = collection.violation(stored) {
                return Err(Failure::duplicate_key(namespace, &index, key).into());
            }
        }
        self.put(namespace, Arc::clone(stored), ChangeKind::Insert);
        Ok(())
    }

    /// Replaces the document of the same `_id`. The caller has checked.
    pub(crate) fn replace(&mut self, namespace: &str, document: Document) -> Result<Arc<Stored>, Stop> {
        let stored = Arc::new(Stored::new(document));
        if let Some((index, key)) = self.collection(namespace).and_then(|collection| collection.violation(&stored)) {
            return Err(Failure::duplicate_key(namespace, &index, key).into());
        }
        self.put(namespace, Arc::clone(&stored), ChangeKind::Update);
        Ok(stored)
    }

    /// Removes a document. The caller has checked.
    pub(crate) fn remove(&mut self, namespace: &str, key: &Key) {
        let Some(collection) = self.data.get_mut(namespace) else { return };
        if let Some(old) = Arc::make_mut(collection).remove(key) {
            let id = old.document.get("_id").cloned().unwrap_or(Bson::Null);
            self.note(namespace, key, ChangeKind::Delete, id, None);
        }
    }

    fn put(&mut self, namespace: &str, stored: Arc<Stored>, kind: ChangeKind) {
        let collection = self.open(namespace);
        collection.put(Arc::clone(&stored));
        collection.evict();
        let id = stored.document.get("_id").cloned().unwrap_or(Bson::Null);
        let key = Arc::clone(&stored.key);
        self.note(namespace, &key, kind, id, Some(stored));
    }

    fn note(&mut self, namespace: &str, key: &Key, kind: ChangeKind, id: Bson, stored: Option<Arc<Stored>>) {
        match &mut self.own {
            Some(own) => {
                let entry = (namespace.to_owned(), Arc::clone(key));
                if self.reservations.held.insert(entry.clone(), own.id).is_none() {
                    own.writes.push(entry);
                }
            }
            None => {
                self.wrote = true;
                self.reservations.note_write(namespace, key);
                self.changes.push(namespace, kind, id, stored);
            }
        }
    }

    /// The collection for writing, created if it does not exist.
    pub(crate) fn open(&mut self, namespace: &str) -> &mut Collection {
        // Looking first saves the copy of the name.
        if !self.data.contains_key(namespace) {
            self.data.insert(namespace.to_owned(), Arc::new(Collection::new(Document::new())));
        }
        Arc::make_mut(
            self.data.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Collection::new(Document::new()))),
        )
    }

    /// Creates a collection with options.
    pub(crate) fn create(&mut self, namespace: &str, options: Document) -> Result<()> {
        if let Some(known) = self.collection(namespace) {
            if known.options == options {
                return Ok(());
            }
            return Err(Failure::new(48, format!("Collection {namespace} already exists.")));
        }
        self.data.insert(namespace.to_owned(), Arc::new(Collection::new(options)));
        Ok(())
    }

    /// Removes a collection and returns it.
    pub(crate) fn drop_collection(&mut self, namespace: &str) -> Option<Arc<Collection>> {
        let dropped = self.data.remove(namespace)?;
        self.wrote = true;
        self.reservations.clock += 1;
        self.changes.push(namespace, ChangeKind::Drop, Bson::Null, None);
        Some(dropped)
    }

    /// Gives a collection another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<()> {
        if !self.data.contains_key(from) {
            return Err(Failure::new(26, format!("Source collection {from} does not exist")));
        }
        if self.data.contains_key(to) && !replace {
            return Err(Failure::new(48, "target namespace exists"));
        }
        if let Some(collection) = self.drop_collection(from) {
            self.data.insert(to.to_owned(), collection);
        }
        Ok(())
    }
}

impl Transaction {
    pub(super) fn view<'a>(&'a mut self, reservations: &'a mut Reservations, changes: &'a mut Changes) -> View<'a> {
        let own = Own { id: self.id, snapshot: self.snapshot, writes: &mut self.writes };
        View { data: &mut self.data, own: Some(own), reservations, changes, wrote: false }
    }
}
