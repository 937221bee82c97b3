//! What an instance may use: memory, tables, and the CPU time of each call.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use crate::state::{Abort, State};
use crate::ticker::Clock;

/// Elements in all tables of one instance together. Go's compiler gives every function of a program an element.
const TABLE_ELEMENTS: usize = 1 << 20;

/// The memory and table cap of one instance.
#[derive(Debug)]
pub(crate) struct Limits {
    memory: usize,
    elements: usize,
    /// Growth was refused during the current call.
    pub(crate) denied: bool,
}

impl Limits {
    pub(crate) fn new(memory: usize) -> Limits {
        Limits { memory, elements: 0, denied: false }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired <= self.memory;
        self.denied |= !granted;
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.denied = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_add(desired.saturating_sub(current));
        let granted = total <= TABLE_ELEMENTS;
        if granted {
            self.elements = total;
        }
        self.denied |= !granted;
        Ok(granted)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        1
    }
}

/// The CPU time that one call may use.
#[derive(Debug)]
pub(crate) struct Budget {
    clock: Arc<Clock>,
    /// Of a call.
    call: Duration,
    /// Of a call while the guest starts or is configured.
    configure: Duration,
    /// Of the current call.
    allowance: Duration,
    /// The thread's CPU clock at the first tick inside the call.
    base: Option<Duration>,
    /// The tick at which the clock was last looked at.
    seen: u32,
}

/// Which of the two budgets a call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Call,
    Configure,
}

impl Budget {
    pub(crate) fn new(clock: Arc<Clock>, call: Duration, configure: Duration) -> Budget {
        Budget { clock, call, configure, allowance: Duration::ZERO, base: None, seen: 0 }
    }

    #[inline]
    pub(crate) fn begin(&mut self, pace: Pace) {
        self.clock.mark();
        self.allowance = match pace {
            Pace::Call => self.call,
            Pace::Configure => self.configure,
        };
        self.base = None;
        self.seen = self.clock.ticks();
    }

    /// Looked at by every hostcall: compiled code looks for itself at loops and calls only, and a long row of hostcalls has
    /// neither.
    #[inline]
    pub(crate) fn check(&mut self) -> Result<(), Abort> {
        let now = self.clock.ticks();
        if now == self.seen {
            return Ok(());
        }
        self.seen = now;
        self.spend()
    }

    /// Whether some of the budget is left.
    #[cold]
    fn spend(&mut self) -> Result<(), Abort> {
        self.clock.mark();
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let now = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        let base = *self.base.get_or_insert(now);
        if now.saturating_sub(base) < self.allowance { Ok(()) } else { Err(Abort::Deadline(self.allowance)) }
    }
}

/// Called by running guest code when the epoch has moved. Looks at the CPU clock of the thread, so that a
/// guest whose thread was descheduled is not blamed for the time that somebody else used.
pub(crate) fn on_epoch(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    store.data_mut().budget.spend()?;
    Ok(UpdateDeadline::Continue(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_bounded_together() {
        let mut limits = Limits::new(10);
        assert!(limits.table_growing(0, TABLE_ELEMENTS - 1, None).is_ok_and(|granted| granted));
        assert!(limits.table_growing(0, 2, None).is_ok_and(|granted| !granted));
        assert!(limits.denied);
    }
}
