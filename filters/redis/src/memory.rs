//! What is remembered of commands, of all connections of a worker together: each connection's part is bounded, and yet there may be very many of them. Where it comes
//! to much, each has fewer commands under way.

use std::cell::Cell;
use std::rc::Rc;

/// From how many commands on a connection gets no more of them.
const COMMANDS: usize = 64 << 10;
/// But for so many, which each may have.
const FEW: usize = 16;

/// Commands that are held or wait for their replies, of a worker.
#[derive(Debug, Clone, Default)]
pub struct Memory(Rc<Cell<usize>>);

/// What a connection has of them.
#[derive(Debug)]
pub struct Share {
    memory: Memory,
    commands: usize,
}

impl Memory {
    /// How many commands a connection may have now that otherwise may have `most`.
    pub fn most(&self, most: usize) -> usize {
        if self.0.get() < COMMANDS { most } else { most.min(FEW) }
    }

    /// The part of a connection that has none.
    pub fn share(&self) -> Share {
        Share { memory: self.clone(), commands: 0 }
    }
}

impl Share {
    /// So many commands are remembered now.
    pub fn set(&mut self, commands: usize) {
        let all = &self.memory.0;
        all.set(all.get().saturating_sub(self.commands).saturating_add(commands));
        self.commands = commands;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
