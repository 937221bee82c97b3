//! What was asked: the last commands, and counts of all of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use bson::{Bson, Document, Uuid, doc};

use crate::sync::lock;

/// Different counts that are kept apart; what is beyond is counted as one.
const MOST_COUNTS: usize = 10_000;
/// Comments are told apart by so many bytes of theirs.
const COMMENT_BYTES: usize = 256;

/// One command.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Number of the connection, as in hello and `connectionStatus`.
    pub connection: i64,
    /// `requestID` of the message.
    pub request_id: i32,
    /// Name of the command, as it came.
    pub command: String,
    /// `$db`.
    pub database: String,
    /// The collection; empty for commands that have none.
    pub collection: String,
    /// `comment`.
    pub comment: Option<Bson>,
    /// `lsid`.
    pub session: Option<Uuid>,
    /// `txnNumber`.
    pub transaction: Option<i64>,
    /// `cursor id` of getMore.
    pub cursor: Option<i64>,
    /// Application name of the connection's hello.
    pub application: Option<String>,
    /// Name of the message's compressor.
    pub compressor: Option<&'static str>,
    /// The client reads no reply.
    pub more_to_come: bool,
}

impl Entry {
    fn to_document(&self) -> Document {
        doc! {
            "connection": self.connection,
            "requestID": self.request_id,
            "command": &self.command,
            "db": &self.database,
            "collection": &self.collection,
            "comment": self.comment.clone(),
            "lsid": self.session.map(|session| session.to_string()),
            "txnNumber": self.transaction,
            "cursor": self.cursor,
            "application": self.application.clone(),
            "compressor": self.compressor,
            "moreToCome": self.more_to_come,
        }
    }
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountKey {
    /// Name of the command.
    pub command: String,
    /// `$db`.
    pub database: String,
    /// The collection, or empty.
    pub collection: String,
    /// The comment if it is text, cut at 256 bytes, or empty.
    pub comment: String,
}

/// The log of a server.
#[derive(Debug)]
pub struct CommandLog {
    capacity: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    counts: HashMap<CountKey, u64>,
    total: u64,
    replies: u64,
}

impl CommandLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::default() }
    }

    pub(crate) fn push(&self, entry: Entry) {
        let comment = entry.comment.as_ref().and_then(Bson::as_str).unwrap_or_default();
        let cut = comment.floor_char_boundary(COMMENT_BYTES);
        let key = CountKey {
            command: entry.command.clone(),
            database: entry.database.clone(),
            collection: entry.collection.clone(),
            comment: comment.get(..cut).unwrap_or_default().to_owned(),
        };
        let mut kept = lock(&self.kept);
        kept.total += 1;
        let full = kept.counts.len() >= MOST_COUNTS;
        match kept.counts.get_mut(&key) {
            Some(count) => *count += 1,
            None if full => {
                let other = || "(other)".to_owned();
                let rest = CountKey {
                    command: other(),
                    database: String::new(),
                    collection: String::new(),
                    comment: String::new(),
                };
                *kept.counts.entry(rest).or_default() += 1;
            }
            None => {
                kept.counts.insert(key, 1);
            }
        }
        if self.capacity == 0 {
            return;
        }
        if kept.entries.len() >= self.capacity {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
    }

    pub(crate) fn replied(&self) {
        lock(&self.kept).replies += 1;
    }

    /// The last commands, the oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.kept).entries.iter().cloned().collect()
    }

    /// The last commands of that name, the oldest first.
    pub fn of(&self, command: &str) -> Vec<Entry> {
        lock(&self.kept).entries.iter().filter(|entry| entry.command == command).cloned().collect()
    }

    /// How many commands of each kind there were since the start or [`CommandLog::clear`].
    pub fn counts(&self) -> Vec<(CountKey, u64)> {
        let mut counts: Vec<_> = lock(&self.kept).counts.iter().map(|(key, count)| (key.clone(), *count)).collect();
        counts.sort();
        counts
    }

    /// How many commands of that name there were.
    pub fn count(&self, command: &str) -> u64 {
        lock(&self.kept).counts.iter().filter(|(key, _)| key.command == command).map(|(_, count)| count).sum()
    }

    /// How many commands there were.
    pub fn total(&self) -> u64 {
        lock(&self.kept).total
    }

    /// How many replies were written, exhaust replies included.
    pub fn replies(&self) -> u64 {
        lock(&self.kept).replies
    }

    /// Forgets entries and counts.
    pub fn clear(&self) {
        *lock(&self.kept) = Kept::default();
    }

    pub(crate) fn entries_document(&self, limit: usize) -> Vec<Document> {
        let kept = lock(&self.kept);
        let skip = kept.entries.len().saturating_sub(limit);
        kept.entries.iter().skip(skip).map(Entry::to_document).collect()
    }

    pub(crate) fn counts_document(&self) -> Vec<Document> {
        let row = |(key, count): (CountKey, u64)| {
            doc! {
                "command": key.command,
                "db": key.database,
                "collection": key.collection,
                "comment": key.comment,
                "count": i64::try_from(count).unwrap_or(i64::MAX),
            }
        };
        self.counts().into_iter().map(row).collect()
    }
}
