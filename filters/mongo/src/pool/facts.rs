//! What the pool must know of a command and of a reply: few fields, wherever they were read from.
//!
//! The filter's decoder reads them as a message streams by ([`Command::of`], [`Reply::of`]); [`Reply::read`] does it for the
//! documents of handshakes, which are there as a whole. Nothing here is trusted: clients write what they like.

use super::heard::Version;
use crate::bson::read::{elements, find};
use crate::bson::{Broken, Value};
use crate::message;

/// Mode of `$readPreference`. Tags, staleness and hedging are left to the driver's own topology: behind a proxy it has
/// none, so they have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadPreference {
    /// Only the primary; the default.
    #[default]
    Primary,
    /// The primary if there is one, else a secondary.
    PrimaryPreferred,
    /// Only secondaries.
    Secondary,
    /// A secondary if there is one, else the primary.
    SecondaryPreferred,
    /// Any server with data.
    Nearest,
}

/// What a command asks, borrowed from the message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Command<'a> {
    /// Name: the first field's.
    pub name: &'a str,
    /// `$db`.
    pub database: &'a str,
    /// The collection: the first field's text, for `getMore` the field `collection`.
    pub collection: Option<&'a str>,
    /// `lsid.id`.
    pub session: Option<&'a [u8]>,
    /// `txnNumber`: of a transaction or of a retryable write.
    pub txn_number: Option<i64>,
    /// `autocommit: false`: part of a transaction.
    pub in_transaction: bool,
    /// `startTransaction: true`: its first command.
    pub starts_transaction: bool,
    /// Mode of `$readPreference`.
    pub read_preference: ReadPreference,
    /// Cursors of `getMore` (one) and `killCursors`.
    pub cursors: Vec<i64>,
    /// Sessions of `endSessions`.
    pub sessions: Vec<&'a [u8]>,
    /// `tailable`, or a pipeline that begins with `$changeStream`: the cursor may wait for news forever.
    pub long_lived: bool,
    /// A pipeline that ends with `$out` or `$merge`.
    pub writes_result: bool,
}

/// What a reply says, borrowed from the message.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reply<'a> {
    /// `ok`.
    pub ok: bool,
    /// `code`.
    pub code: Option<i32>,
    /// `writeConcernError.code`.
    pub write_concern_code: Option<i32>,
    /// `errorLabels`.
    pub labels: Labels,
    /// `cursor.id`, 0 if exhausted; none if the reply has no cursor.
    pub cursor: Option<i64>,
    /// `cursor.ns`: database, dot, collection.
    pub namespace: Option<&'a str>,
    /// `topologyVersion`, with which servers since MongoDB 4.4 say as of when they refuse something for what they are.
    pub version: Option<Version>,
}

/// A set of error labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Labels(u8);

impl Labels {
    /// No label.
    pub const NONE: Self = Self(0);
    /// Drivers retry the write once.
    pub const RETRYABLE_WRITE: Self = Self(1);
    /// The transaction is gone; applications run it again.
    pub const TRANSIENT_TRANSACTION: Self = Self(2);
    /// The commit may have happened; applications commit again.
    pub const UNKNOWN_COMMIT: Self = Self(4);
    /// Nothing was written, so that an earlier attempt's error is the one to show.
    pub const NO_WRITES: Self = Self(8);
    /// Overload: drivers back off before they retry (client backpressure specification).
    pub const OVERLOADED: Self = Self(16);
    /// Safe to retry whatever the operation is (client backpressure specification).
    pub const RETRYABLE: Self = Self(32);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::RETRYABLE_WRITE, "RetryableWriteError"),
        (Self::TRANSIENT_TRANSACTION, "TransientTransactionError"),
        (Self::UNKNOWN_COMMIT, "UnknownTransactionCommitResult"),
        (Self::NO_WRITES, "NoWritesPerformed"),
        (Self::OVERLOADED, "SystemOverloadedError"),
        (Self::RETRYABLE, "RetryableError"),
    ];

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every label of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The label of this name, or none if it means nothing to us.
    pub fn named(name: &str) -> Self {
        Self::NAMES.iter().find(|(_, known)| *known == name).map_or(Self::NONE, |(label, _)| *label)
    }

    /// The names, as they go over the wire.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(label, _)| self.contains(*label)).map(|(_, name)| name)
    }
}

impl ReadPreference {
    /// The mode of this name; unknown ones are left for the primary to refuse.
    pub fn named(mode: &str) -> Self {
        match mode {
            "primaryPreferred" => Self::PrimaryPreferred,
            "secondary" => Self::Secondary,
            "secondaryPreferred" => Self::SecondaryPreferred,
            "nearest" => Self::Nearest,
            _ => Self::Primary,
        }
    }
}

impl<'a> Command<'a> {
    /// What the filter has read of a request.
    pub fn of(request: &'a message::request::Request) -> Self {
        let text = |name: &'a message::Name| std::str::from_utf8(name.bytes()).unwrap_or_default();
        Self {
            name: request.command().name,
            database: text(&request.database),
            collection: (!request.collection.is_empty()).then(|| text(&request.collection)),
            session: request.session.as_deref(),
            txn_number: request.txn_number,
            in_transaction: request.in_transaction,
            starts_transaction: request.starts_transaction,
            read_preference: ReadPreference::named(request.preference.unwrap_or_default()),
            cursors: request.cursors.clone(),
            sessions: request.sessions.iter().map(Vec::as_slice).collect(),
            long_lived: request.is_tailable || request.is_change_stream,
            writes_result: request.writes_result,
        }
    }
}

impl<'a> Reply<'a> {
    /// What the filter has read of a reply.
    pub fn of(reply: &'a message::reply::Reply) -> Self {
        let code = |code: i64| i32::try_from(code).ok();
        Self {
            ok: reply.is_ok,
            code: code(reply.code).filter(|code| *code != 0),
            write_concern_code: reply.concern_code.and_then(code),
            labels: reply.labels().fold(Labels::NONE, |labels, name| labels.and(Labels::named(name))),
            cursor: reply.cursor,
            namespace: std::str::from_utf8(reply.namespace.bytes()).ok().filter(|name| !name.is_empty()),
            version: reply.process.map(|process| Version::new(process, reply.counter)),
        }
    }

    /// Reads a reply's document.
    ///
    /// # Errors
    /// The document is not BSON.
    pub fn read(document: &'a [u8]) -> Result<Self, Broken> {
        let mut reply = Self::default();
        for element in elements(document) {
            match element? {
                ("ok", value) => reply.ok = value.is_true(),
                ("code", value) => reply.code = code(value),
                ("writeConcernError", Value::Document(error)) => {
                    reply.write_concern_code = find(error, "code").and_then(code);
                }
                ("errorLabels", Value::Array(labels)) => {
                    reply.labels = values(labels)
                        .filter_map(Value::str)
                        .fold(Labels::NONE, |labels, name| labels.and(Labels::named(name)));
                }
                ("topologyVersion", Value::Document(version)) => reply.version = Version::read(version),
                ("cursor", Value::Document(cursor)) => {
                    reply.cursor = find(cursor, "id").and_then(Value::integer);
                    reply.namespace = find(cursor, "ns").and_then(Value::str);
                }
                _ => {}
            }
        }
        Ok(reply)
    }
}

fn code(value: Value<'_>) -> Option<i32> {
    value.integer().and_then(|code| i32::try_from(code).ok())
}

/// The values of an array, up to the first that is malformed.
fn values(array: &[u8]) -> impl Iterator<Item = Value<'_>> {
    elements(array).map_while(Result::ok).map(|(_, value)| value)
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
