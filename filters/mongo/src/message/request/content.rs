//! What the wire says of a request, outside of its documents.

use super::{Lookup, Request, at};
use crate::message::command::Command;
use crate::message::parts;
use crate::wire::{Content, Header, opcode, query_flag};

impl Content for Request {
    fn begin(&mut self, header: &Header, opcode: i32) {
        self.is_compressed = header.opcode == opcode::COMPRESSED;
        (self.opcode, self.flags, self.command, self.preference) = (opcode, 0, None, None);
        for name in [&mut self.database, &mut self.collection, &mut self.callsite, &mut self.application] {
            name.clear();
        }
        (self.lookup, self.max_time) = (Lookup::None, 0);
        (self.is_tailable, self.awaits_data, self.has_no_timeout) = (false, false, false);
        (self.is_body_read, self.has_id, self.has_database) = (false, false, false);
        (self.has_namespaces, self.misses_namespaces) = (false, false);
        (self.session, self.txn_number) = (None, None);
        (self.in_transaction, self.starts_transaction) = (false, false);
        (self.is_change_stream, self.writes_result, self.stages, self.is_stage_named) = (false, false, 0, false);
        self.login.clear();
        // Long lists are rare: nothing is kept for the next one.
        self.sessions = Vec::new();
        self.cursors.clear();
        self.cursors.shrink_to(16);
        self.namespaces.clear();
        self.raw.clear();
    }

    fn flags(&mut self, flags: u32) {
        self.flags = flags;
        if self.opcode == opcode::QUERY {
            self.is_tailable = flags & query_flag::TAILABLE != 0;
            self.awaits_data = flags & query_flag::AWAIT_DATA != 0;
            self.has_no_timeout = flags & query_flag::NO_TIMEOUT != 0;
        }
    }

    fn namespace(&mut self, name: &[u8]) {
        self.split(name);
        self.has_database = true;
        if self.opcode == opcode::QUERY {
            if self.collection.bytes().starts_with(b"$cmd") {
                self.collection.clear();
            } else {
                self.command = Some(Command::find(b"find"));
                self.lookup = Lookup::Scatter;
            }
        }
    }

    fn cursor(&mut self, id: i64) {
        self.cursors.push(id);
    }

    fn documents(&mut self, _count: i32) {}

    fn root(&self) -> u8 {
        if self.opcode == opcode::QUERY && self.command.is_some() { at::QUERY } else { at::ROOT }
    }

    fn wants_raw(&self) -> usize {
        self.raw_limit
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
    }

    fn sequence(&self, name: &[u8]) -> Option<u8> {
        // Which command it is may come behind it.
        (name == b"nsInfo" && (self.is_bulk() || !self.is_body_read)).then_some(at::NAMESPACE)
    }

    fn body_read(&mut self) {
        self.is_body_read = true;
        if self.is_bulk() {
            self.under_first_namespace();
        } else {
            // A list that another command has with it says nothing of what that is about.
            self.namespaces.clear();
        }
    }

    fn sequence_read(&mut self, _context: u8) {
        self.has_namespaces = true;
        if self.is_bulk() {
            self.under_first_namespace();
        }
    }

    fn is_known(&self) -> bool {
        self.is_body_read && (!self.is_bulk() || self.has_namespaces)
    }
}

impl Request {
    /// A `bulkWrite` is about its first namespace; its `$db` is `admin`.
    fn under_first_namespace(&mut self) {
        if let Some(first) = self.namespaces.first() {
            let (database, collection) = parts(first.bytes());
            self.database.set(database);
            self.collection.set(collection);
        }
    }
}
