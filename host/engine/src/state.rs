//! What a store holds: the lent host, and all that belongs to one instance.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Memory, TypedFunc};

use crate::abi::PairsScratch;
use crate::contexts::Contexts;
use crate::error::TrapKind;
use crate::host::Host;
use crate::limits::{Budget, Limits};
use crate::module::AbiVersion;
use crate::ticker::Clock;
use crate::types::ContextId;

/// Scratch buffers that grew beyond this are given back after use.
const KEEP: usize = 1 << 20;

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
    #[error("the host did not store its shared data (not granted, or more than may be kept)")]
    NotStored,
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
            Abort::NotPermitted { .. } | Abort::NotStored | Abort::NoHost => TrapKind::Other,
        }
    }
}

/// What an instance was made with, shared with the copies of its image.
pub(crate) struct Settings {
    pub(crate) abi: AbiVersion,
    /// Bytes of memory that it may have.
    pub(crate) memory: usize,
    /// CPU time of one call.
    pub(crate) call: Duration,
    /// CPU time of one call while it starts or is configured.
    pub(crate) configure: Duration,
    pub(crate) vm_configuration: Vec<u8>,
    /// `KEY=VALUE` and a NUL byte each.
    pub(crate) environment: Vec<Vec<u8>>,
}

/// The data of one store.
pub(crate) struct State {
    pub(crate) host: Lent,
    pub(crate) mode: Mode,
    /// A trap (or a panic of the host) has happened in this instance.
    pub(crate) condemned: bool,
    pub(crate) settings: Arc<Settings>,
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
    pub(crate) configuration: Vec<u8>,
    pub(crate) arguments: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
}

impl State {
    pub(crate) fn new(settings: Arc<Settings>, clock: Arc<Clock>) -> State {
        State {
            host: Lent::default(),
            mode: Mode::Idle,
            condemned: false,
            memory: None,
            allocator: None,
            effective: ContextId(0),
            contexts: Contexts::default(),
            scratch: Vec::new(),
            pairs: PairsScratch::default(),
            readable: Readable::Nothing,
            configuration: Vec::new(),
            arguments: Vec::new(),
            limits: Limits::new(settings.memory),
            budget: Budget::new(clock, settings.call, settings.configure),
            settings,
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
