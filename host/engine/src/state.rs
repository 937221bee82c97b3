//! What a store holds: the lent host, the contexts, the budget and the limits of one instance.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Memory, ResourceLimiter, StoreContextMut, TypedFunc, UpdateDeadline};

use crate::abi::PairsScratch;
use crate::error::TrapKind;
use crate::host::Host;
use crate::module::AbiVersion;
use crate::ticker::Clock;
use crate::types::ContextId;

/// Scratch buffers that grew beyond this are given back after use.
const KEEP: usize = 1 << 20;
/// Elements in all tables of one instance together. Go's compiler gives every function of a program an element.
const TABLE_ELEMENTS: usize = 1 << 20;

/// What the guest is doing, hence what it may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is not running.
    Idle,
    /// A callback: everything is permitted.
    Running,
    /// `_initialize`, `_start` or `main`: logging and WASI.
    Starting,
    /// Its allocator, inside a hostcall: logging and clocks.
    Allocating,
}

/// Which configuration the guest may read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readable {
    /// None.
    Nothing,
    /// In `proxy_on_vm_start`: buffer 6.
    Vm,
    /// In `proxy_on_configure`: buffers 6 and 7.
    Plugin,
    /// In `proxy_on_foreign_function`: buffer 8.
    Arguments,
}

/// The embedder's host, for the length of one call.
#[derive(Default)]
pub(crate) struct Lent(Option<NonNull<dyn Host>>);

// SAFETY: the pointer is only set between `Lent::set` and `Lent::clear`, which `instance::Loan` calls at the begin and the end of
// one call on one thread. During that time the instance is mutably borrowed, so the store that holds this value can neither be
// moved to another thread nor be reached from one. At any other time this is `None`, and `None` may go anywhere.
unsafe impl Send for Lent {}

impl Lent {
    /// Points at `host`, whose lifetime is forgotten here.
    ///
    /// # Safety
    /// The caller calls [`Lent::clear`] before the borrow of `host` ends, also when it unwinds, and does not use `host`
    /// in between.
    pub(crate) unsafe fn set(&mut self, host: &mut dyn Host) {
        let host = NonNull::from(host);
        // SAFETY: the two types differ in the lifetime bound of the trait object only, which has no representation. That
        // nothing is reached through the pointer after the lifetime is over is what the caller promises.
        self.0 = Some(unsafe { std::mem::transmute::<NonNull<dyn Host + '_>, NonNull<dyn Host + 'static>>(host) });
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

/// Why a hostcall ended its guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Abort {
    #[error("it gave the host a pointer outside of its memory (address {address:#x}, {length} bytes)")]
    BadPointer { address: u32, length: u32 },
    #[error("its allocator could not provide {0} bytes for a value from the host")]
    OutOfMemory(u32),
    #[error("it called {hostcall} while {during}, where that is not permitted")]
    NotPermitted { hostcall: &'static str, during: &'static str },
    #[error("it exited with code {0}")]
    Exit(i32),
    #[error("it used more than {0:?} of CPU time in one call")]
    Deadline(Duration),
    #[error("the host was not there; this is a defect of the engine")]
    NoHost,
}

impl Abort {
    pub(crate) fn kind(&self) -> TrapKind {
        match self {
            Abort::BadPointer { .. } => TrapKind::BadPointer,
            Abort::OutOfMemory(_) => TrapKind::Memory,
            Abort::Exit(_) => TrapKind::Exit,
            Abort::Deadline(_) => TrapKind::Deadline,
            Abort::NotPermitted { .. } | Abort::NoHost => TrapKind::Other,
        }
    }
}

/// The memory and table cap of one instance.
#[derive(Debug)]
pub(crate) struct Limits {
    memory: usize,
    elements: usize,
    /// Growth was refused during the current call.
    pub(crate) denied: bool,
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
}

/// Which of the two budgets a call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Call,
    Configure,
}

impl Budget {
    pub(crate) fn new(clock: Arc<Clock>, call: Duration, configure: Duration) -> Budget {
        Budget { clock, call, configure, allowance: Duration::ZERO, base: None }
    }

    #[inline]
    pub(crate) fn begin(&mut self, pace: Pace) {
        self.clock.mark();
        self.allowance = match pace {
            Pace::Call => self.call,
            Pace::Configure => self.configure,
        };
        self.base = None;
    }
}

/// Called by running guest code when the epoch has moved. Looks at the CPU clock of the thread, so that a
/// guest whose thread was descheduled is not blamed for the time that somebody else used.
pub(crate) fn on_epoch(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let budget = &mut store.data_mut().budget;
    budget.clock.mark();
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let now = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
    let base = *budget.base.get_or_insert(now);
    if now.saturating_sub(base) < budget.allowance {
        Ok(UpdateDeadline::Continue(1))
    } else {
        Err(Abort::Deadline(budget.allowance).into())
    }
}

/// A hasher for context ids: they are handed out in sequence, by us, so one multiplication is enough.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The contexts of an instance, and the root of each.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    roots: HashMap<ContextId, ContextId, BuildHasherDefault<IdHasher>>,
    last: u32,
}

impl Contexts {
    /// A new id under `root`, or a new root. Ids repeat only after 2^32 contexts, and then never one that is in use.
    pub(crate) fn create(&mut self, root: Option<ContextId>) -> ContextId {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            let id = ContextId(self.last);
            if let Entry::Vacant(place) = self.roots.entry(id) {
                place.insert(root.unwrap_or(id));
                return id;
            }
        }
    }

    pub(crate) fn remove(&mut self, id: ContextId) {
        self.roots.remove(&id);
    }

    #[inline]
    pub(crate) fn contains(&self, id: ContextId) -> bool {
        self.roots.contains_key(&id)
    }

    /// The root of `id`; of an unknown one, itself.
    pub(crate) fn root(&self, id: ContextId) -> ContextId {
        self.roots.get(&id).copied().unwrap_or(id)
    }
}

/// The data of one store.
pub(crate) struct State {
    pub(crate) host: Lent,
    pub(crate) mode: Mode,
    /// A trap (or a panic of the host) has happened in this instance.
    pub(crate) condemned: bool,
    pub(crate) abi: AbiVersion,
    pub(crate) memory: Option<Memory>,
    /// Boxed, so that taking it out for the length of an allocation moves one pointer.
    pub(crate) allocator: Option<Box<TypedFunc<u32, u32>>>,
    /// The context on whose behalf the guest calls: the one that runs, until the guest says otherwise.
    pub(crate) effective: ContextId,
    pub(crate) contexts: Contexts,
    /// Values on their way into the guest.
    pub(crate) scratch: Vec<u8>,
    pub(crate) pairs: PairsScratch,
    pub(crate) readable: Readable,
    pub(crate) vm_configuration: Vec<u8>,
    pub(crate) configuration: Vec<u8>,
    pub(crate) arguments: Vec<u8>,
    /// `KEY=VALUE` and a NUL byte each.
    pub(crate) environment: Vec<Vec<u8>>,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
}

impl State {
    pub(crate) fn new(abi: AbiVersion, memory: usize, budget: Budget) -> State {
        State {
            host: Lent::default(),
            mode: Mode::Idle,
            condemned: false,
            abi,
            memory: None,
            allocator: None,
            effective: ContextId(0),
            contexts: Contexts::default(),
            scratch: Vec::new(),
            pairs: PairsScratch::default(),
            readable: Readable::Nothing,
            vm_configuration: Vec::new(),
            configuration: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            limits: Limits { memory, elements: 0, denied: false },
            budget,
        }
    }

    /// The host of the call that is running.
    #[inline]
    pub(crate) fn host<'a>(&self) -> Result<&'a mut dyn Host, Abort> {
        match self.host.0 {
            // SAFETY: the pointer was made from a `&mut dyn Host` that outlives the running call (`Lent::set`). Hostcalls
            // are the only ones to use it, one at a time: `abi::enter` ties the reference to the borrow of the `Caller`, and a
            // nested hostcall (from the guest's allocator) runs only while the outer one holds no such reference.
            Some(host) => Ok(unsafe { &mut *host.as_ptr() }),
            None => Err(Abort::NoHost),
        }
    }

    /// The empty scratch buffer. To be given back with [`State::put_scratch`].
    #[inline]
    pub(crate) fn take_scratch(&mut self) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch
    }

    #[inline]
    pub(crate) fn put_scratch(&mut self, scratch: Vec<u8>) {
        if scratch.capacity() <= KEEP {
            self.scratch = scratch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_reused_while_in_use_even_when_the_counter_wraps() {
        let mut contexts = Contexts::default();
        let root = contexts.create(None);
        assert_eq!(root, ContextId(1));
        let stream = contexts.create(Some(root));
        assert_eq!(contexts.root(stream), root);
        contexts.remove(stream);
        assert!(!contexts.contains(stream));
        assert_eq!(contexts.create(Some(root)), ContextId(3));
        contexts.last = u32::MAX - 1;
        assert_eq!(contexts.create(Some(root)), ContextId(u32::MAX));
        assert_eq!(contexts.create(Some(root)), ContextId(2), "0 is nobody, 1 is in use");
    }

    #[test]
    fn tables_are_bounded_together() {
        let mut limits = Limits { memory: 10, elements: 0, denied: false };
        assert!(limits.table_growing(0, TABLE_ELEMENTS - 1, None).is_ok_and(|granted| granted));
        assert!(limits.table_growing(0, 2, None).is_ok_and(|granted| !granted));
        assert!(limits.denied);
    }
}
