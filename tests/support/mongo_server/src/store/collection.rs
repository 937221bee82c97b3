//! One collection: documents in the order of their insertion, and by `_id`.

use std::sync::Arc;

use bson::{Bson, Document, Uuid, doc};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::{
    args::{Fields, integer, number},
    query::{matching::Filter, path},
};

/// The identity of a document, with numbers of equal value made equal.
pub(crate) type Key = Arc<[u8]>;

/// A document in a collection.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) document: Document,
    pub(crate) key: Key,
    /// Length as BSON, in bytes.
    pub(crate) size: usize,
}

impl Stored {
    pub(crate) fn new(document: Document) -> Self {
        let key = key(document.get("_id").unwrap_or(&Bson::Null));
        let size = document.to_vec().map_or(0, |bytes| bytes.len());
        Self { document, key, size }
    }
}

/// The identity that an `_id` gives.
pub(crate) fn key(id: &Bson) -> Key {
    let id = match (id, integer(id), number(id)) {
        (Bson::ObjectId(id), _, _) => return Arc::from(id.bytes().as_slice()),
        (_, Some(whole), Some(value)) if value.abs() < 9e15 => Bson::Int64(whole),
        _ => id.clone(),
    };
    Arc::from(doc! { "": id }.to_vec().unwrap_or_default())
}

/// A collection; cloning copies no document.
#[derive(Debug, Clone)]
pub(crate) struct Collection {
    documents: RedBlackTreeMapSync<u64, Arc<Stored>>,
    ids: HashTrieMapSync<Key, u64>,
    next: u64,
    bytes: usize,
    /// What `create` was given.
    pub(crate) options: Document,
    pub(crate) uuid: Uuid,
    /// Specifications of the indexes, that of `_id` first.
    pub(crate) indexes: Vec<Document>,
}

impl Collection {
    pub(crate) fn new(options: Document) -> Self {
        Self {
            documents: RedBlackTreeMapSync::new_sync(),
            ids: HashTrieMapSync::new_sync(),
            next: 1,
            bytes: 0,
            options,
            uuid: Uuid::new(),
            indexes: vec![doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.documents.size()
    }

    /// Sum of the documents' lengths, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_capped(&self) -> bool {
        self.options.flag("capped")
    }

    /// The number of the last document ever inserted.
    pub(crate) fn last(&self) -> u64 {
        self.next - 1
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Stored>> {
        self.documents.get(self.ids.get(key)?)
    }

    /// Documents in the order of insertion.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.documents.values()
    }

    /// Documents inserted after number `after`, with their numbers.
    pub(crate) fn after(&self, after: u64) -> impl Iterator<Item = (u64, &Arc<Stored>)> {
        self.documents.range(after + 1..).map(|(number, stored)| (*number, stored))
    }

    /// Documents that satisfy the filter, in the order of insertion unless the filter names their `_id`s.
    pub(crate) fn find<'a>(&'a self, filter: &'a Filter) -> Box<dyn Iterator<Item = &'a Arc<Stored>> + 'a> {
        match filter.ids() {
            Some(ids) => {
                let mut numbers: Vec<u64> = ids.into_iter().filter_map(|id| self.ids.get(&*key(id)).copied()).collect();
                numbers.sort_unstable();
                numbers.dedup();
                let found = numbers.into_iter().filter_map(|number| self.documents.get(&number));
                Box::new(found.filter(|stored| filter.matches(&stored.document)))
            }
            None => Box::new(self.iter().filter(|stored| filter.matches(&stored.document))),
        }
    }

    /// A unique index that `stored` would violate: its name and the key.
    pub(crate) fn violation(&self, stored: &Stored) -> Option<(String, Document)> {
        let unique = self.indexes.iter().filter(|index| index.flag("unique"));
        for index in unique {
            let Ok(fields) = index.get_document("key") else { continue };
            let value = |document: &Document| -> Document {
                let at = |path: &String| path::value(document, path).cloned().unwrap_or(Bson::Null);
                fields.keys().map(|path| (path.clone(), at(path))).collect()
            };
            let wanted = value(&stored.document);
            if index.flag("sparse") && wanted.values().all(|value| matches!(value, Bson::Null)) {
                continue;
            }
            if self.iter().any(|other| other.key != stored.key && value(&other.document) == wanted) {
                return Some((index.get_str("name").unwrap_or_default().to_owned(), wanted));
            }
        }
        None
    }

    /// Inserts the document, or replaces the one of the same `_id` in its place.
    pub(crate) fn put(&mut self, stored: Arc<Stored>) {
        let number = match self.ids.get(&stored.key) {
            Some(number) => *number,
            None => {
                let number = self.next;
                self.next += 1;
                self.ids.insert_mut(Arc::clone(&stored.key), number);
                number
            }
        };
        self.bytes += stored.size;
        if let Some(old) = self.documents.get(&number) {
            self.bytes = self.bytes.saturating_sub(old.size);
        }
        self.documents.insert_mut(number, stored);
    }

    /// Removes a document.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Arc<Stored>> {
        let number = *self.ids.get(key)?;
        let stored = self.documents.get(&number).map(Arc::clone)?;
        self.ids.remove_mut(key);
        self.documents.remove_mut(&number);
        self.bytes = self.bytes.saturating_sub(stored.size);
        Some(stored)
    }

    /// Removes the oldest documents of a capped collection until it keeps its bounds again.
    pub(crate) fn evict(&mut self) {
        if !self.is_capped() {
            return;
        }
        let bound = |field: &str| {
            let value = self.options.get(field).and_then(integer).and_then(|value| usize::try_from(value).ok());
            value.filter(|value| *value > 0).unwrap_or(usize::MAX)
        };
        let (most, largest) = (bound("max"), bound("size"));
        while self.len() > most || (self.bytes > largest && self.len() > 1) {
            let Some(oldest) = self.iter().next().map(|stored| Arc::clone(&stored.key)) else { return };
            self.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_equal_value_are_the_same_key() {
        assert_eq!(key(&Bson::Int32(1)), key(&Bson::Double(1.0)));
        assert_ne!(key(&Bson::Int32(1)), key(&Bson::Double(1.5)));
        assert_ne!(key(&Bson::Int32(1)), key(&Bson::String("1".into())));
    }

    #[test]
    fn capped_collections_forget_their_oldest() {
        let mut collection = Collection::new(doc! { "capped": true, "size": 100_000, "max": 2 });
        for id in 0..5 {
            collection.put(Arc::new(Stored::new(doc! { "_id": id })));
            collection.evict();
        }
        let left: Vec<_> = collection.iter().map(|stored| stored.document.clone()).collect();
        assert_eq!(left, [doc! { "_id": 3 }, doc! { "_id": 4 }]);
    }

    #[test]
    fn clones_do_not_see_later_writes() {
        let mut collection = Collection::new(Document::new());
        collection.put(Arc::new(Stored::new(doc! { "_id": 1, "v": 1 })));
        let snapshot = collection.clone();
        collection.put(Arc::new(Stored::new(doc! { "_id": 1, "v": 2 })));
        collection.remove(&key(&Bson::Int32(7)));
        assert_eq!(snapshot.iter().next().unwrap().document, doc! { "_id": 1, "v": 1 });
        assert_eq!(collection.bytes(), doc! { "_id": 1, "v": 2 }.to_vec().unwrap().len());
    }
}
