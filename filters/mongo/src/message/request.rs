//! What is kept of a request.

mod content;

use super::command::{Command, Target};
use super::{Name, parts};
use crate::bson::walk::{Visit, Wish};
use crate::bson::{Value, kind};
use crate::callsite;
use crate::identity::Credentials;
use crate::wire::{flag, opcode, query_flag};

/// Where in a request something stands.
mod at {
    /// The command.
    pub const ROOT: u8 = 0;
    /// What a legacy command was wrapped in: `$query`.
    pub const WRAPPED: u8 = 1;
    /// A legacy query, which is its own filter.
    pub const QUERY: u8 = 2;
    pub const FILTER: u8 = 3;
    pub const COMMENT: u8 = 4;
    pub const CLIENT: u8 = 5;
    pub const APPLICATION: u8 = 6;
    pub const PREFERENCE: u8 = 7;
    /// The command that `explain` is about.
    pub const EXPLAINED: u8 = 8;
    pub const NAMESPACES: u8 = 9;
    pub const NAMESPACE: u8 = 10;
    pub const CURSORS: u8 = 11;
    /// `lsid`.
    pub const SESSION: u8 = 12;
    /// The sessions of `endSessions`, and one of them.
    pub const SESSIONS: u8 = 13;
    pub const ENDED: u8 = 14;
    pub const PIPELINE: u8 = 15;
    pub const STAGE: u8 = 16;
    /// `speculativeAuthenticate`.
    pub const LOGIN: u8 = 17;
}

/// Namespaces of one `bulkWrite` that are kept.
pub const NAMESPACES: usize = 16;
/// Cursors of one `killCursors` that are kept; drivers send one, and each is looked up.
const CURSORS: usize = 256;
/// Sessions of one `endSessions` that are kept; drivers send at most so many.
const SESSIONS: usize = 10_000;

/// How a query finds its documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lookup {
    /// It is no query.
    #[default]
    None,
    /// By one `_id`.
    Key,
    /// `_id` is a document or an array.
    Multi,
    /// Without `_id`.
    Scatter,
}

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    /// The kind of message; of what is inside, if it is compressed.
    pub opcode: i32,
    /// Flags of OP_MSG or OP_QUERY.
    pub flags: u32,
    /// Whether it was compressed.
    pub is_compressed: bool,
    command: Option<&'static Command>,
    /// The database.
    pub database: Name,
    /// The collection; empty: it is about none.
    pub collection: Name,
    /// The call site that its comment names.
    pub callsite: Name,
    /// The application's name, in a greeting.
    pub application: Name,
    /// Who logs in.
    pub login: Credentials,
    /// Read preference: the mode.
    pub preference: Option<&'static str>,
    /// How a query finds its documents.
    pub lookup: Lookup,
    /// Its `maxTimeMS`.
    pub max_time: i64,
    pub is_tailable: bool,
    pub awaits_data: bool,
    pub has_no_timeout: bool,
    /// Cursors that it is about.
    pub cursors: Vec<i64>,
    /// The session that it belongs to: `lsid.id`.
    pub session: Option<Vec<u8>>,
    /// Its number in that session: of a transaction, or of a write that may be tried again.
    pub txn_number: Option<i64>,
    /// `autocommit: false`: it is part of a transaction.
    pub in_transaction: bool,
    /// It is the first of one.
    pub starts_transaction: bool,
    /// Sessions that it ends.
    pub sessions: Vec<Vec<u8>>,
    /// Its pipeline begins with `$changeStream`.
    pub is_change_stream: bool,
    /// Its pipeline ends with `$out` or `$merge`, or its end was not seen.
    pub writes_result: bool,
    /// Namespaces of a `bulkWrite`.
    pub namespaces: Vec<Name>,
    /// The beginning of the command's document.
    pub raw: Vec<u8>,
    /// How much of it is wanted.
    pub raw_limit: usize,
    /// Which key of a comment names the call site.
    pub callsite_key: std::rc::Rc<str>,
    is_body_read: bool,
    has_database: bool,
    /// There was a list of namespaces, and not all of it was kept.
    has_namespaces: bool,
    misses_namespaces: bool,
    has_id: bool,
    stages: usize,
    is_stage_named: bool,
}

impl Request {
    /// What it is about, each as database and collection: one, or of a `bulkWrite` all that it names.
    pub fn places(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let own = self.namespaces.is_empty().then(|| (self.database.bytes(), self.collection.bytes()));
        self.namespaces.iter().map(|namespace| parts(namespace.bytes())).chain(own)
    }

    /// The command; of legacy messages, the one that does the same today.
    #[must_use]
    pub fn command(&self) -> &'static Command {
        let name: &[u8] = match self.opcode {
            opcode::INSERT => b"insert",
            opcode::UPDATE => b"update",
            opcode::DELETE => b"delete",
            opcode::GET_MORE => b"getMore",
            opcode::KILL_CURSORS => b"killCursors",
            _ => return self.command.unwrap_or(&Command::UNKNOWN),
        };
        Command::find(name)
    }

    /// Whether the server answers.
    #[must_use]
    pub const fn expects_reply(&self) -> bool {
        match self.opcode {
            opcode::MSG => self.flags & flag::MORE_TO_COME == 0,
            opcode::QUERY | opcode::GET_MORE => true,
            _ => false,
        }
    }

    /// Whether it is a query in Envoy's sense: `find`, or a legacy query that is no command.
    #[must_use]
    pub fn is_query(&self) -> bool {
        matches!(self.opcode, opcode::MSG | opcode::QUERY) && self.command().is_find()
    }

    /// Whether the server may answer several times.
    #[must_use]
    pub const fn may_exhaust(&self) -> bool {
        match self.opcode {
            opcode::MSG => self.flags & flag::EXHAUST_ALLOWED != 0,
            opcode::QUERY => self.flags & query_flag::EXHAUST != 0,
            _ => false,
        }
    }

    /// Whether rules can judge it: `false` where it may be about collections that were not seen.
    #[must_use]
    pub fn names_all_collections(&self) -> bool {
        self.command().name != "bulkWrite" || (self.has_namespaces && !self.misses_namespaces)
    }

    /// Whether its command was read to its end: what rules go by is known.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        self.is_body_read
    }

    fn is_one_of(&self, names: [&str; 2]) -> bool {
        self.command.is_some_and(|command| names.contains(&command.name))
    }

    fn is_bulk(&self) -> bool {
        self.command.is_some_and(|command| command.name == "bulkWrite")
    }

    /// The first element of a command: what it is, and what it is about.
    fn first(&mut self, name: &[u8], value: Option<Value<'_>>) {
        let command = Command::find(name);
        self.command = Some(command);
        let text = value.and_then(Value::text);
        match (command.target, text) {
            (Target::Collection, Some(text)) => self.collection.set(text),
            (Target::Namespace, Some(text)) => self.split(text),
            (Target::Cursor, _) => self.cursors.extend(value.and_then(Value::integer)),
            _ => {}
        }
        if command.is_find() && self.lookup == Lookup::None {
            self.lookup = Lookup::Scatter;
        }
    }

    fn split(&mut self, namespace: &[u8]) {
        let (database, collection) = parts(namespace);
        self.database.set(database);
        self.collection.set(collection);
    }

    fn credential(&mut self, name: &[u8], value: Value<'_>) {
        // Some drivers of before write payloads as text.
        self.login.set(name, value.binary().or_else(|| value.text()).unwrap_or_default());
    }

    fn id(&mut self, kind: u8) {
        self.lookup = if matches!(kind, kind::DOCUMENT | kind::ARRAY) { Lookup::Multi } else { Lookup::Key };
        self.has_id = true;
    }
}

impl Visit for Request {
    fn wish(&self, context: u8, kind: u8, name: &[u8]) -> Wish {
        let is_inner = matches!(kind, kind::DOCUMENT | kind::ARRAY);
        match context {
            at::ROOT | at::WRAPPED if self.command.is_none() => match name {
                b"$query" | b"query" if context == at::ROOT && self.opcode == opcode::QUERY && is_inner => {
                    Wish::Enter(at::WRAPPED)
                }
                b"explain" if is_inner => Wish::Enter(at::EXPLAINED),
                b"endSessions" if is_inner => Wish::Enter(at::SESSIONS),
                b"$readPreference" if is_inner => Wish::Enter(at::PREFERENCE),
                _ if is_inner => Wish::Skip,
                _ => Wish::Take,
            },
            at::ROOT | at::WRAPPED | at::QUERY => match name {
                b"$db" | b"maxTimeMS" | b"$maxTimeMS" | b"tailable" | b"awaitData" | b"noCursorTimeout" => Wish::Take,
                b"collection" if self.command.is_some_and(|command| command.target == Target::Cursor) => Wish::Take,
                b"comment" | b"$comment" if is_inner => Wish::Enter(at::COMMENT),
                b"comment" | b"$comment" => Wish::Take,
                b"filter" if is_inner && self.command.is_some_and(Command::is_find) => Wish::Enter(at::FILTER),
                b"$query" | b"query" if is_inner && context == at::QUERY => Wish::Enter(at::FILTER),
                b"client" if is_inner && self.command.is_some_and(|command| command.handshake) => {
                    Wish::Enter(at::CLIENT)
                }
                // Elsewhere they are not what the server goes by.
                b"mechanism" | b"payload" | b"user" if self.is_one_of(["saslStart", "authenticate"]) => Wish::Take,
                b"speculativeAuthenticate" if is_inner && self.is_one_of(["hello", "isMaster"]) => {
                    Wish::Enter(at::LOGIN)
                }
                b"$readPreference" if is_inner => Wish::Enter(at::PREFERENCE),
                b"nsInfo" if is_inner && self.is_bulk() => Wish::Enter(at::NAMESPACES),
                b"cursors" if is_inner => Wish::Enter(at::CURSORS),
                b"txnNumber" | b"autocommit" | b"startTransaction" => Wish::Take,
                b"lsid" if is_inner => Wish::Enter(at::SESSION),
                b"pipeline" if is_inner && self.command.is_some_and(|command| command.name == "aggregate") => {
                    Wish::Enter(at::PIPELINE)
                }
                _ => Wish::Skip,
            },
            at::COMMENT if name == self.callsite_key.as_bytes() => Wish::Take,
            at::LOGIN if matches!(name, b"mechanism" | b"payload" | b"user" | b"db") => Wish::Take,
            at::CLIENT if name == b"application" && is_inner => Wish::Enter(at::APPLICATION),
            at::APPLICATION if name == b"name" => Wish::Take,
            at::PREFERENCE if name == b"mode" => Wish::Take,
            at::EXPLAINED if self.collection.is_empty() && !is_inner => Wish::Take,
            at::NAMESPACES if is_inner && self.namespaces.len() < NAMESPACES => Wish::Enter(at::NAMESPACE),
            at::NAMESPACE if name == b"ns" => Wish::Take,
            at::CURSORS if self.cursors.len() < CURSORS => Wish::Take,
            at::SESSION if name == b"id" => Wish::Take,
            at::SESSIONS if is_inner && self.sessions.len() < SESSIONS => Wish::Enter(at::ENDED),
            at::ENDED if name == b"id" => Wish::Take,
            at::PIPELINE if is_inner => Wish::Enter(at::STAGE),
            _ => Wish::Skip,
        }
    }

    fn value(&mut self, context: u8, name: &[u8], value: Value<'_>) {
        match context {
            at::ROOT | at::WRAPPED if self.command.is_none() => self.first(name, Some(value)),
            at::ROOT | at::WRAPPED | at::QUERY => match name {
                b"$db" => {
                    // Of several, servers take the first; of legacy messages, the namespace's.
                    if !std::mem::replace(&mut self.has_database, true) {
                        self.database.set(value.text().unwrap_or_default());
                    }
                }
                b"collection" => self.collection.set(value.text().unwrap_or_default()),
                b"maxTimeMS" | b"$maxTimeMS" => self.max_time = value.integer().unwrap_or_default(),
                b"tailable" => self.is_tailable = value.is_true(),
                b"awaitData" => self.awaits_data = value.is_true(),
                b"noCursorTimeout" => self.has_no_timeout = value.is_true(),
                b"txnNumber" => self.txn_number = value.integer(),
                b"autocommit" => self.in_transaction = !value.is_true(),
                b"startTransaction" => self.starts_transaction = value.is_true(),
                b"mechanism" | b"payload" | b"user" => self.credential(name, value),
                _ => {
                    if let Some(text) = value.text() {
                        callsite::read(text, &self.callsite_key, &mut self.callsite);
                    }
                }
            },
            at::COMMENT => self.callsite.set(value.text().unwrap_or_default()),
            at::LOGIN => self.credential(name, value),
            at::APPLICATION => self.application.set(value.text().unwrap_or_default()),
            at::PREFERENCE => self.preference = value.text().map(mode),
            at::EXPLAINED => self.collection.set(value.text().unwrap_or_default()),
            at::NAMESPACE => {
                let mut name = Name::default();
                name.set(value.text().unwrap_or_default());
                if self.namespaces.len() < NAMESPACES {
                    self.namespaces.push(name);
                } else {
                    self.misses_namespaces = true;
                }
            }
            at::CURSORS => self.cursors.extend(value.integer()),
            at::SESSION => self.session = value.binary().map(<[u8]>::to_vec),
            at::ENDED => self.sessions.extend(value.binary().map(<[u8]>::to_vec)),
            _ => {}
        }
    }

    fn enter(&mut self, context: u8, kind: u8, name: &[u8], inside: u8) {
        match (context, inside) {
            (at::ROOT | at::WRAPPED, at::EXPLAINED | at::SESSIONS) if self.command.is_none() => self.first(name, None),
            (at::ROOT, at::NAMESPACES) => self.has_namespaces = true,
            (_, at::LOGIN) => {
                self.login.clear();
                self.login.is_speculative = true;
            }
            (at::FILTER, _) if name == b"_id" => self.id(kind),
            (_, at::STAGE) => {
                self.stages += 1;
                (self.is_stage_named, self.writes_result) = (false, false);
            }
            _ => {}
        }
    }

    fn passed(&mut self, context: u8, kind: u8, name: &[u8]) {
        match context {
            at::ROOT | at::WRAPPED if self.command.is_none() => self.first(name, None),
            at::FILTER if name == b"_id" && !self.has_id => self.id(kind),
            at::QUERY if name == b"_id" && !self.has_id => self.id(kind),
            at::NAMESPACES => self.misses_namespaces = true,
            at::NAMESPACE if name == b"ns" => self.misses_namespaces = true,
            at::STAGE if !std::mem::replace(&mut self.is_stage_named, true) => {
                self.is_change_stream |= self.stages == 1 && name == b"$changeStream";
                self.writes_result = matches!(name, b"$out" | b"$merge");
            }
            _ => {}
        }
    }

    fn leave(&mut self, context: u8, whole: Option<(u32, u32)>) {
        self.misses_namespaces |= matches!(context, at::NAMESPACES | at::NAMESPACE) && whole.is_some();
        // What it ends with was not seen: it may write.
        self.writes_result |= context == at::PIPELINE && whole.is_some();
    }
}

/// A mode of reading; what clients invent is none of them.
fn mode(text: &[u8]) -> &'static str {
    match text {
        b"primary" => "primary",
        b"primaryPreferred" => "primaryPreferred",
        b"secondary" => "secondary",
        b"secondaryPreferred" => "secondaryPreferred",
        b"nearest" => "nearest",
        _ => "other",
    }
}
