//! What is kept of a reply.

use super::Name;
use crate::bson::walk::{Visit, Wish};
use crate::bson::{Value, kind};
use crate::wire::{Content, Header, flag, opcode, reply_flag};

/// Where in a reply something stands.
mod at {
    pub const ROOT: u8 = 0;
    pub const CURSOR: u8 = 1;
    /// `firstBatch` or `nextBatch`.
    pub const BATCH: u8 = 2;
    pub const LABELS: u8 = 3;
    pub const WRITE_ERRORS: u8 = 4;
    pub const WRITE_ERROR: u8 = 5;
    pub const CONCERN: u8 = 6;
    /// `topologyVersion`.
    pub const VERSION: u8 = 7;
}

/// Labels of errors that drivers act upon (specifications: retryable writes, transactions, change streams, client backpressure).
pub const LABELS: [&str; 8] = [
    "TransientTransactionError",
    "UnknownTransactionCommitResult",
    "RetryableWriteError",
    "ResumableChangeStreamError",
    "NoWritesPerformed",
    "SystemOverloadedError",
    "RetryableError",
    "StreamProcessorRetryableError",
];

/// A reply.
#[derive(Debug, Default)]
pub struct Reply {
    /// The kind of message; of what is inside, if it is compressed.
    pub opcode: i32,
    /// Flags of OP_MSG or OP_REPLY.
    pub flags: u32,
    /// Whether the command went well. A reply that was not seen to its end did, unless it says otherwise.
    pub is_ok: bool,
    /// The error's number; zero: there is none.
    pub code: i64,
    /// The error's name.
    pub code_name: Name,
    /// Which of [`LABELS`] it has.
    pub labels: u8,
    /// Errors of single writes.
    pub write_errors: u64,
    /// The number of the first of them, or of a write concern that was not fulfilled.
    pub write_code: i64,
    /// The number of a write concern that was not fulfilled.
    pub concern_code: Option<i64>,
    /// The cursor that is open now.
    pub cursor: Option<i64>,
    /// Its `database.collection`.
    pub namespace: Name,
    /// The process that answers, if it says since when it is what it is; and since which of its changes.
    pub process: Option<[u8; 12]>,
    pub counter: i64,
    /// Documents that it returns.
    pub documents: u64,
    /// The conversation of a login is over.
    pub is_done: bool,
    /// It answers the login that came with a greeting.
    pub has_speculative: bool,
    in_command: bool,
    has_flags: bool,
}

impl Reply {
    /// Whether another reply follows without being asked for.
    #[must_use]
    pub const fn more_to_come(&self) -> bool {
        self.opcode == opcode::MSG && self.flags & flag::MORE_TO_COME != 0
    }

    /// The labels that it has.
    pub fn labels(&self) -> impl Iterator<Item = &'static str> {
        let labels = self.labels;
        LABELS.into_iter().enumerate().filter(move |(at, _)| labels & (1 << at) != 0).map(|(_, label)| label)
    }
}

impl Visit for Reply {
    fn wish(&self, context: u8, kind: u8, name: &[u8]) -> Wish {
        let is_inner = matches!(kind, kind::DOCUMENT | kind::ARRAY);
        match context {
            at::ROOT => match name {
                b"cursor" if is_inner => Wish::Enter(at::CURSOR),
                b"errorLabels" if is_inner => Wish::Enter(at::LABELS),
                b"writeErrors" if is_inner => Wish::Enter(at::WRITE_ERRORS),
                b"writeConcernError" if is_inner => Wish::Enter(at::CONCERN),
                b"topologyVersion" if is_inner => Wish::Enter(at::VERSION),
                b"ok" | b"code" | b"codeName" | b"nErrors" | b"$err" | b"done" => Wish::Take,
                _ => Wish::Skip,
            },
            at::CURSOR => match name {
                b"firstBatch" | b"nextBatch" if is_inner => Wish::Enter(at::BATCH),
                b"id" | b"ns" => Wish::Take,
                _ => Wish::Skip,
            },
            at::LABELS => Wish::Take,
            at::VERSION if matches!(name, b"processId" | b"counter") => Wish::Take,
            at::WRITE_ERRORS if is_inner && self.write_errors == 0 => Wish::Enter(at::WRITE_ERROR),
            at::WRITE_ERROR | at::CONCERN if name == b"code" => Wish::Take,
            _ => Wish::Skip,
        }
    }

    fn value(&mut self, context: u8, name: &[u8], value: Value<'_>) {
        match (context, name) {
            (at::ROOT, b"ok") => self.is_ok = value.is_true(),
            (at::ROOT, b"code") => self.code = value.integer().unwrap_or_default(),
            (at::ROOT, b"codeName") => self.code_name.set(value.text().unwrap_or_default()),
            (at::ROOT, b"nErrors") => {
                let count = value.integer().and_then(|count| u64::try_from(count).ok());
                self.write_errors = self.write_errors.max(count.unwrap_or_default());
            }
            (at::ROOT, b"$err") => self.is_ok = false,
            (at::ROOT, b"done") => self.is_done = value.is_true(),
            (at::VERSION, b"processId") => self.process = value.object_id(),
            (at::VERSION, _) => self.counter = value.integer().unwrap_or_default(),
            (at::CURSOR, b"ns") => self.namespace.set(value.text().unwrap_or_default()),
            (at::CURSOR, _) => self.cursor = value.integer(),
            (at::WRITE_ERROR | at::CONCERN, _) => {
                self.write_code = value.integer().unwrap_or_default();
                if context == at::CONCERN {
                    self.concern_code = value.integer();
                }
            }
            (at::LABELS, _) => {
                let label = LABELS.iter().position(|label| Some(label.as_bytes()) == value.text());
                self.labels |= label.map_or(0, |at| 1 << at);
            }
            _ => {}
        }
    }

    fn enter(&mut self, context: u8, _kind: u8, _name: &[u8], inside: u8) {
        match (context, inside) {
            (at::ROOT, at::CURSOR) => {
                self.in_command = true;
                self.documents = 0;
            }
            (_, at::WRITE_ERROR) => self.write_errors += 1,
            _ => {}
        }
    }

    fn passed(&mut self, context: u8, _kind: u8, name: &[u8]) {
        match context {
            at::ROOT => self.has_speculative |= name == b"speculativeAuthenticate",
            at::BATCH => self.documents += 1,
            at::WRITE_ERRORS => self.write_errors += 1,
            _ => {}
        }
    }

    fn leave(&mut self, context: u8, whole: Option<(u32, u32)>) {
        let Some((length, walked)) = whole else { return };
        let count = match context {
            at::BATCH => &mut self.documents,
            at::WRITE_ERRORS => &mut self.write_errors,
            _ => return,
        };
        // Not all of it was looked at: the rest is taken to be like what was.
        *count = (*count).saturating_mul(u64::from(length)) / u64::from(walked.max(1));
    }
}

impl Content for Reply {
    fn begin(&mut self, _header: &Header, opcode: i32) {
        let (mut code_name, mut namespace) = (std::mem::take(&mut self.code_name), std::mem::take(&mut self.namespace));
        code_name.clear();
        namespace.clear();
        *self = Self { opcode, is_ok: true, code_name, namespace, ..Self::default() };
    }

    fn flags(&mut self, flags: u32) {
        self.flags = flags;
        self.has_flags = true;
        if self.opcode == opcode::REPLY && flags & (reply_flag::QUERY_FAILURE | reply_flag::CURSOR_NOT_FOUND) != 0 {
            self.is_ok = false;
        }
    }

    fn namespace(&mut self, _name: &[u8]) {}

    fn cursor(&mut self, id: i64) {
        self.cursor = Some(id);
    }

    fn documents(&mut self, count: i32) {
        self.documents = u64::try_from(count).unwrap_or_default();
    }

    fn root(&self) -> u8 {
        at::ROOT
    }

    fn wants_raw(&self) -> usize {
        0
    }

    fn raw(&mut self, _bytes: &[u8]) {}

    fn sequence(&self, _name: &[u8]) -> Option<u8> {
        None
    }

    fn body_read(&mut self) {}

    fn is_known(&self) -> bool {
        self.has_flags
    }
}
