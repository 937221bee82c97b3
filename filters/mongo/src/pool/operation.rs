//! One operation of a client, as long as its exchange lasts: what of the command outlives the command's bytes.

use super::facts::{Command, ReadPreference};

/// Kinds of commands between which pins and failures differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `getMore`.
    GetMore,
    /// `killCursors`.
    KillCursors,
    /// `commitTransaction`.
    Commit,
    /// `abortTransaction`.
    Abort,
    /// `endSessions`.
    EndSessions,
    /// Writes: the primary's, whatever read preference is in the command.
    Write,
    /// Everything else.
    Other,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Kind of the command.
    pub kind: Kind,
    /// `lsid.id`.
    pub session: Option<Vec<u8>>,
    /// `txnNumber`.
    pub txn_number: Option<i64>,
    /// Part of a transaction, its commit and abort included.
    pub in_transaction: bool,
    /// First command of a transaction.
    pub starts_transaction: bool,
    /// Database and collection of the cursors that `getMore` and `killCursors` name; empty otherwise.
    pub namespace: String,
    /// Cursors of `getMore` and `killCursors`.
    pub cursors: Vec<i64>,
    /// Sessions of `endSessions`.
    pub sessions: Vec<Vec<u8>>,
    /// Where it may be read.
    pub read_preference: ReadPreference,
    /// May wait for news for as long as it likes.
    pub long_lived: bool,
}

impl Operation {
    /// The operation of a command.
    pub fn of(command: &Command<'_>) -> Self {
        let kind = kind(command);
        let namespace = match kind {
            Kind::GetMore | Kind::KillCursors => {
                format!("{}.{}", command.database, command.collection.unwrap_or_default())
            }
            _ => String::new(),
        };
        Self {
            kind,
            session: command.session.map(<[u8]>::to_vec),
            txn_number: command.txn_number,
            // A number and a session belong to it; without them it is the server's to refuse.
            in_transaction: command.in_transaction && command.session.is_some() && command.txn_number.is_some(),
            starts_transaction: command.starts_transaction,
            namespace,
            cursors: command.cursors.clone(),
            sessions: command.sessions.iter().map(|session| session.to_vec()).collect(),
            read_preference: command.read_preference,
            long_lived: command.long_lived,
        }
    }

    /// Whether it goes on with what one server has, if that has it still.
    pub fn goes_on(&self) -> bool {
        !self.cursors.is_empty() || !self.sessions.is_empty() || (self.in_transaction && !self.starts_transaction)
    }

    /// Whether something may be written by it: a commit writes what was only prepared.
    pub fn may_write(&self, name: &str) -> bool {
        matches!(self.kind, Kind::Write | Kind::Commit) || ADMINISTRATION.contains(&name)
    }

    /// Whether drivers send it again after a failure that says `RetryableWriteError`: retryable writes have a number
    /// outside of transactions, commit and abort are retryable inside (retryable writes specification).
    pub fn is_retryable_write(&self) -> bool {
        match self.kind {
            Kind::Commit | Kind::Abort => true,
            _ => self.txn_number.is_some() && !self.in_transaction,
        }
    }
}

/// Other commands that write, and those of which it is not known.
const ADMINISTRATION: [&str; 21] = [
    "convertToCapped",
    "createRole",
    "createSearchIndexes",
    "createUser",
    "dropAllUsersFromDatabase",
    "dropRole",
    "dropSearchIndex",
    "dropUser",
    "enableSharding",
    "grantRolesToUser",
    "mapReduce",
    "moveChunk",
    "reIndex",
    "revokeRolesFromUser",
    "setDefaultRWConcern",
    "setFeatureCompatibilityVersion",
    "shardCollection",
    "split",
    "unknown_command",
    "updateSearchIndex",
    "updateUser",
];

fn kind(command: &Command<'_>) -> Kind {
    match command.name {
        "getMore" => Kind::GetMore,
        "killCursors" => Kind::KillCursors,
        "commitTransaction" => Kind::Commit,
        "abortTransaction" => Kind::Abort,
        "endSessions" => Kind::EndSessions,
        // Named because a client may have put a read preference into them by hand; commands that are not here go to
        // the primary too, unless they ask for something else.
        "insert" | "update" | "delete" | "findAndModify" | "findandmodify" | "bulkWrite" | "create" | "drop"
        | "dropDatabase" | "createIndexes" | "dropIndexes" | "collMod" | "renameCollection" => Kind::Write,
        _ if command.writes_result => Kind::Write,
        _ => Kind::Other,
    }
}
