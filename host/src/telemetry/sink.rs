//! Sinks: where access logs go.
//!
//! Each sink has a thread. Each [`SinkHandle`] has a buffer, whose lock only its owner and, for a moment ten times a second,
//! the thread take; so a record costs its copy and no wake-up. Only a buffer that has grown past 256 KiB wakes the thread early. One
//! thread per sink, because a blocked pipe on standard output must not hold up a file.
//!
//! Nothing waits for a sink. When [`QUEUE_BYTES`] are queued (its handles together), records are dropped and counted. Records of one
//! handle keep their order; records of two handles are never mixed within a line.

mod collector;
mod writer;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use super::{
    export::metrics::readings,
    handle::{Counter, lock},
    names,
    otlp::statistics::Statistics,
    registry::{FamilyReading, Registry},
};
use crate::config::resolved::LogCollector;
use writer::{Output, Writer};

/// Most bytes that wait to be written to one sink.
pub const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// A handle's buffer that grows past this wakes the sink's thread.
const WAKE_BYTES: usize = 256 * 1024;

/// Where a sink writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkTarget {
    /// Standard output.
    Stdout,
    /// Appended to this file, which is made when missing and opened anew when it was moved away.
    File(PathBuf),
    /// Sent to a collector of OpenTelemetry, each record as a log record.
    Otlp(Arc<LogCollector>),
}

/// Why sinks could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file cannot be opened for appending.
    #[error("sink `{sink}`: cannot open {} for appending: {source}", path.display())]
    Open {
        /// Name of the sink.
        sink: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no runtime that could send, or the collector's settings cannot be worked with.
    #[error("sink `{sink}`: cannot send: {reason}")]
    Send {
        /// Name of the sink.
        sink: String,
        /// Why.
        reason: String,
    },
    /// The system gives no thread.
    #[error("sink `{sink}`: cannot start its thread: {source}")]
    Thread {
        /// Name of the sink.
        sink: String,
        /// Why.
        source: io::Error,
    },
}

/// How [`Sinks::close`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Every record was written, or counted as dropped.
    Complete,
    /// Time ran out; what is still queued may be lost.
    TimedOut,
}

/// Open sinks by name. A sink ends, after writing what is queued, when this and all handles to it are dropped.
#[derive(Debug)]
pub struct Sinks {
    by_name: BTreeMap<String, Arc<Sink>>,
}

impl Sinks {
    /// Opens every sink. The one named `""` is standard output unless it is given.
    ///
    /// # Errors
    /// [`SinkError`] for the first that cannot be opened; none stays open then.
    pub fn open(
        targets: impl IntoIterator<Item = (String, SinkTarget)>,
        registry: &Registry,
    ) -> Result<Self, SinkError> {
        Self { by_name: BTreeMap::new() }.next(targets, registry)
    }

    /// Opens the sinks of the next generation: those of the same name and target are the same.
    ///
    /// # Errors
    /// [`SinkError`] for the first that cannot be opened; no new one stays open then.
    pub fn next(
        &self,
        targets: impl IntoIterator<Item = (String, SinkTarget)>,
        registry: &Registry,
    ) -> Result<Self, SinkError> {
        let mut by_name = BTreeMap::new();
        let unnamed = (String::new(), SinkTarget::Stdout);
        for (name, target) in std::iter::once(unnamed).chain(targets) {
            if let Some(known) = self.by_name.get(&name).filter(|known| known.target == target) {
                by_name.insert(name, Arc::clone(known));
                continue;
            }
            let written = target.clone();
            let output = Output::open(&name, target)?;
            let sink = Sink::start(&name, written, output, registry)?;
            by_name.insert(name, Arc::new(sink));
        }
        Ok(Self { by_name })
    }

    /// A handle with a buffer of its own; one for each worker. `None` when there is no such sink.
    #[must_use]
    pub fn handle(&self, name: &str) -> Option<SinkHandle> {
        self.by_name.get(name).map(SinkHandle::new)
    }

    /// What became of records that were sent, as metrics; nothing where none are.
    #[must_use]
    pub fn readings(&self) -> Vec<FamilyReading> {
        readings("logs", self.by_name.values().filter_map(|sink| sink.sent.as_deref()))
    }

    /// Has every file opened anew at once, after what was queued until now is in the old one: for whoever has moved it away. Waits for
    /// nothing; records that come meanwhile are in one of the two.
    pub fn reopen(&self) {
        for sink in self.by_name.values() {
            sink.shared.reopen.store(true, Ordering::Relaxed);
            sink.thread.unpark();
        }
    }

    /// Bytes that are not written yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.by_name.values().map(|sink| sink.shared.queued.load(Ordering::Relaxed)).sum()
    }

    /// Writes what is queued and ends the sinks, for all handles: what they write later is dropped and counted.
    /// Waits for that until `patience` has passed.
    pub fn close(&self, patience: Duration) -> Flush {
        let deadline = Instant::now() + patience;
        for sink in self.by_name.values() {
            sink.end();
        }
        let all = self.by_name.values().all(|sink| {
            let left = deadline.saturating_duration_since(Instant::now());
            // The thread never sends: the channel closes when it has ended.
            let ended = lock(&sink.ended).recv_timeout(left);
            ended == Err(mpsc::RecvTimeoutError::Disconnected)
        });
        if all { Flush::Complete } else { Flush::TimedOut }
    }
}

/// Appends records to one sink. Cloning makes another buffer.
#[derive(Debug)]
pub struct SinkHandle {
    queue: Arc<Queue>,
    sink: Arc<Sink>,
    full: Counter,
    closed: Counter,
}

impl SinkHandle {
    fn new(sink: &Arc<Sink>) -> Self {
        let queue = Arc::new(Queue::default());
        lock(&sink.shared.queues).push(Arc::clone(&queue));
        Self { queue, sink: Arc::clone(sink), full: sink.full.clone(), closed: sink.closed.clone() }
    }

    /// Queues a record and the newline behind it, or drops and counts it. Never waits for the sink.
    pub fn write(&self, record: &[u8]) {
        let shared = &self.sink.shared;
        let bytes = record.len() + 1;
        // Reserved before the check, so that handles racing for the last bytes cannot both win them.
        if shared.queued.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES {
            shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            self.full.inc();
            return;
        }
        let mut buffer = lock(&self.queue.buffer);
        // Read under the lock: the thread sets it before it takes the buffers for the last time.
        if shared.closed.load(Ordering::Relaxed) {
            drop(buffer);
            shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            self.closed.inc();
            return;
        }
        let before = buffer.bytes.len();
        buffer.bytes.extend_from_slice(record);
        buffer.bytes.push(b'\n');
        buffer.records += 1;
        let crossed = before < WAKE_BYTES && buffer.bytes.len() >= WAKE_BYTES;
        drop(buffer);
        if crossed {
            self.sink.thread.unpark();
        }
    }
}

impl Clone for SinkHandle {
    fn clone(&self) -> Self {
        Self::new(&self.sink)
    }
}

/// What handles and `Sinks` hold. The thread holds only [`Shared`], so that it can see the last of them go.
#[derive(Debug)]
struct Sink {
    target: SinkTarget,
    shared: Arc<Shared>,
    thread: Thread,
    ended: Mutex<mpsc::Receiver<()>>,
    full: Counter,
    closed: Counter,
    /// Of one that sends.
    sent: Option<Arc<Statistics>>,
}

impl Sink {
    fn start(name: &str, target: SinkTarget, output: Output, registry: &Registry) -> Result<Self, SinkError> {
        let shared = Arc::new(Shared::default());
        let (alive, ended) = mpsc::channel::<()>();
        let sent = output.statistics();
        let dropped = |reason| registry.counter(&names::SINK_DROPPED, &[("sink", name), ("reason", reason)]);
        let writer = Writer {
            sink: name.to_owned(),
            shared: Arc::clone(&shared),
            output,
            records: registry.counter(&names::SINK_RECORDS, &[("sink", name)]),
            bytes: registry.counter(&names::SINK_BYTES, &[("sink", name)]),
            failed: dropped("error"),
        };
        let thread = thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || {
                writer.run();
                drop(alive);
            })
            .map_err(|source| SinkError::Thread { sink: name.to_owned(), source })?;
        Ok(Self {
            target,
            shared,
            thread: thread.thread().clone(),
            ended: Mutex::new(ended),
            full: dropped("full"),
            closed: dropped("closed"),
            sent,
        })
    }

    fn end(&self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<Vec<Arc<Queue>>>,
    /// Bytes in all buffers, and in the batch that is being written.
    queued: AtomicUsize,
    /// The thread is asked to open its file anew.
    reopen: AtomicBool,
    /// The thread is asked to end.
    ending: AtomicBool,
    /// The thread takes the buffers for the last time.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Queue {
    buffer: Mutex<Buffer>,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    records: u64,
}

#[cfg(test)]
mod tests;
