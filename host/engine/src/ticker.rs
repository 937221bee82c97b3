//! The thread that moves the epoch, and sleeps when no guest runs.
//!
//! Compiled code compares the engine's epoch with its store's deadline at loop heads and function entries. Something has to
//! move the epoch; that is this thread. It does not decide anything: a tick merely gives the
//! store's callback (`state::on_epoch`) the opportunity to look at the thread's CPU clock.
//!
//! A caller marks the clock when it enters a guest. The mark is read-mostly: it is written at most once per tick, so
//! workers do not fight over its cache line. After some ticks without a mark the thread naps for
//! [`NAP`] at a time; it still moves the epoch after each nap, so a guest that it missed is
//! noticed late, never not at all.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

/// Nobody has entered a guest since the last tick.
const QUIET: u8 = 0;
/// Somebody has.
const BUSY: u8 = 1;
/// The thread naps and wants to be woken.
const NAPPING: u8 = 2;

/// How long the thread sleeps while nobody runs a guest.
const NAP: Duration = Duration::from_millis(100);
/// Ticks without a mark before it does.
const QUIET_TICKS: u32 = 20;

/// The side of the ticker that callers see.
#[derive(Default)]
pub(crate) struct Clock {
    activity: AtomicU8,
    /// Ticks so far.
    ticks: AtomicU32,
    thread: OnceLock<Thread>,
    /// Whose epochs move.
    engines: Mutex<Vec<EngineWeak>>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("ticks", &self.ticks()).finish_non_exhaustive()
    }
}

impl Clock {
    /// Moves the epoch of this engine too, from now on.
    pub(crate) fn drive(&self, engine: EngineWeak) {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).push(engine);
    }

    /// Moves all epochs. `false` when there is no engine left.
    fn tick(&self) -> bool {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.retain(|engine| engine.upgrade().inspect(wasmtime::Engine::increment_epoch).is_some());
        self.ticks.fetch_add(1, Ordering::Relaxed);
        !engines.is_empty()
    }

    /// A guest is being entered, or is still running.
    #[inline]
    pub(crate) fn mark(&self) {
        if self.activity.load(Ordering::Relaxed) != BUSY {
            self.mark_slow();
        }
    }

    /// Whether its thread waits to be woken.
    pub(crate) fn is_napping(&self) -> bool {
        self.activity.load(Ordering::Relaxed) == NAPPING
    }

    /// Ticks so far, modulo 2^32.
    #[inline]
    pub(crate) fn ticks(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    #[cold]
    fn mark_slow(&self) {
        if self.activity.swap(BUSY, Ordering::AcqRel) == NAPPING
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// Starts the ticker. It ends by itself when the last clone of the last engine is gone.
pub(crate) fn start(engine: EngineWeak, tick: Duration) -> io::Result<Arc<Clock>> {
    let clock = Arc::new(Clock::default());
    clock.drive(engine);
    let shared = Arc::clone(&clock);
    let handle = thread::Builder::new().name("fyke-epoch".into()).spawn(move || run(&shared, tick))?;
    // A mark that comes before this line finds no thread to wake, and the thread, still fresh, does not nap.
    let _ = clock.thread.set(handle.thread().clone());
    Ok(clock)
}

fn run(clock: &Clock, tick: Duration) {
    let mut quiet = 0_u32;
    while clock.tick() {
        if clock.activity.swap(QUIET, Ordering::AcqRel) == BUSY {
            quiet = 0;
        } else {
            quiet = quiet.saturating_add(1);
        }
        if quiet < QUIET_TICKS {
            thread::sleep(tick);
        } else if clock.activity.compare_exchange(QUIET, NAPPING, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            thread::park_timeout(NAP);
        }
    }
}
