//! What is kept of messages that are not whole, and of operations that wait, of all connections of a worker together: each connection's part is bounded, and yet
//! there may be very many of them. Where it comes to much, less is kept of each.

use std::cell::Cell;
use std::rc::Rc;

use crate::connection::Connection;
use crate::filter::Mongo;
use crate::flight::Flights;
use crate::wire::frames::Reach;

/// From how many bytes of messages on less is kept.
const MOST: usize = 8 << 20;
/// What is kept then of a compressed one, or of what waits to be said.
const LEAST: usize = 1 << 10;
/// From how many operations on no connection gets more of them.
const OPERATIONS: i64 = 16 << 10;
/// But for so many, which each may have.
const FEW: usize = 4;

/// Bytes of messages, of a worker.
#[derive(Debug, Clone, Default)]
pub struct Memory(Rc<Cell<usize>>);

/// What a connection has of them.
#[derive(Debug, Default)]
pub struct Share {
    memory: Memory,
    bytes: usize,
}

impl Memory {
    fn is_short(&self) -> bool {
        self.0.get() >= MOST
    }

    /// How much is kept now of what otherwise may be so long.
    #[must_use]
    pub fn most(&self, usual: usize) -> usize {
        if self.is_short() { usual.min(LEAST) } else { usual }
    }

    /// How much is looked at now.
    #[must_use]
    pub fn reach(&self, reach: &Reach) -> Reach {
        Reach { compressed: self.most(reach.compressed), ..*reach }
    }
}

impl Share {
    fn set(&mut self, memory: &Memory, bytes: usize) {
        if !Rc::ptr_eq(&self.memory.0, &memory.0) {
            self.memory = memory.clone();
        }
        memory.0.set(memory.0.get().saturating_sub(self.bytes).saturating_add(bytes));
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.set(self.memory.0.get().saturating_sub(self.bytes));
    }
}

impl Mongo {
    /// A method has looked at bytes of a connection.
    pub(crate) fn weigh(&self, cx: &mut Connection) {
        let held = cx.requests.held() + cx.replies.held() + cx.late.len();
        let sessions = &mut cx.requests.content.sessions;
        let listed: usize = sessions.iter().map(|id| size_of_val(id) + id.capacity()).sum();
        cx.share.set(&self.memory, held + listed);
        if listed > 0 && self.memory.is_short() {
            // They only have transactions end sooner.
            *sessions = Vec::new();
            cx.share.set(&self.memory, held);
        }
    }

    /// How many operations of a connection may wait, with the next one.
    pub(crate) fn most(&self, flights: &Flights) -> usize {
        if self.stats.waiting() < OPERATIONS { self.in_flight } else { self.in_flight.min(flights.len().max(FEW)) }
    }
}
