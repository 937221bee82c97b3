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
#[derive(Debug, Default)]
pub struct Share {
    memory: Memory,
    commands: usize,
}

impl Memory {
    /// How many commands a connection may have now that otherwise may have `most`.
    pub fn most(&self, most: usize) -> usize {
        if self.0.get() < COMMANDS { most } else { most.min(FEW) }
    }
}

impl Share {
    /// So many commands are remembered now.
    pub fn set(&mut self, memory: &Memory, commands: usize) {
        if !Rc::ptr_eq(&self.memory.0, &memory.0) {
            self.memory = memory.clone();
        }
        memory.0.set(memory.0.get().saturating_sub(self.commands).saturating_add(commands));
        self.commands = commands;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.set(self.memory.0.get().saturating_sub(self.commands));
    }
}
