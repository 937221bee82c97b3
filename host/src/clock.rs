//! The wall clock.

use std::{cell::Cell, time::SystemTime};

use tokio::time::Instant;

thread_local! {
    /// Since when this thread's wall clock goes with its runtime's, and what it showed then.
    static SIMULATED: Cell<Option<(SystemTime, Instant)>> = const { Cell::new(None) };
}

/// What time it is, on this thread.
#[must_use]
pub fn wall() -> SystemTime {
    match SIMULATED.get() {
        Some((then, since)) => then.checked_add(since.elapsed()).unwrap_or(then),
        None => SystemTime::now(),
    }
}

/// Seconds since 1970; 0 for what was before.
#[must_use]
pub fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Stops the wall clock of this thread, whose runtime began with paused time. From here on only `tokio::time::advance` moves either;
/// waiting for nothing does not. The guard keeps it so.
#[must_use]
pub fn stop() -> Stopped {
    SIMULATED.set(Some((SystemTime::now(), Instant::now())));
    // An idle runtime moves paused time by itself, unless something blocks.
    let (end, wait) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || wait.recv());
    Stopped { _end: end }
}

/// Time stands still.
#[derive(Debug)]
pub struct Stopped {
    _end: std::sync::mpsc::Sender<()>,
}

/// Processor time that this thread has used.
#[must_use]
pub fn thread() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
