//! The thread of a sink.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    mem,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Buffer, Shared, SinkError, SinkTarget, collector::Sending};
use crate::telemetry::{
    handle::{Counter, lock},
    otlp::statistics::Statistics,
};

/// How long a record waits at most before it is written.
const POLL: Duration = Duration::from_millis(100);
/// How often a file is checked for having been moved away, and how often a failing sink is reported.
const CHECK: Duration = Duration::from_secs(1);
const REPORT: Duration = Duration::from_secs(10);
/// A buffer that grew beyond this is given back to the allocator after a burst.
const KEEP_BYTES: usize = 1024 * 1024;

pub(super) struct Writer {
    pub(super) sink: String,
    pub(super) shared: Arc<Shared>,
    pub(super) output: Output,
    pub(super) records: Counter,
    pub(super) bytes: Counter,
    pub(super) failed: Counter,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut spare = Vec::new();
        let mut reported = None;
        let mut ending = false;
        while !ending {
            thread::park_timeout(POLL);
            ending = self.shared.ending.load(Ordering::Relaxed);
            self.shared.closed.store(ending, Ordering::Relaxed);
            if self.shared.reopen.swap(false, Ordering::Relaxed) {
                self.drain(&mut spare, &mut reported);
                self.reopen();
            } else {
                self.output.follow();
            }
            self.drain(&mut spare, &mut reported);
        }
    }

    fn reopen(&mut self) {
        if let Err(error) = self.output.reopen() {
            tracing::error!(sink = %self.sink, output = %self.output.name(), %error, "cannot open the file anew; records go on into the old one");
        }
    }

    fn drain(&mut self, spare: &mut Vec<u8>, reported: &mut Option<Instant>) {
        for (queue, orphan) in self.queues() {
            let taken = {
                let mut buffer = lock(&queue.buffer);
                let empty = Buffer { bytes: mem::take(spare), records: 0 };
                mem::replace(&mut *buffer, empty)
            };
            if !taken.bytes.is_empty() {
                self.write(&taken, reported);
                self.shared.queued.fetch_sub(taken.bytes.len(), Ordering::Relaxed);
            }
            *spare = taken.bytes;
            spare.clear();
            spare.shrink_to(KEEP_BYTES);
            if orphan {
                lock(&self.shared.queues).retain(|kept| !Arc::ptr_eq(kept, &queue));
            }
        }
    }

    /// The queues, and whether each had lost its handle before it was looked at, so that this is its last turn.
    fn queues(&self) -> Vec<(Arc<super::Queue>, bool)> {
        lock(&self.shared.queues)
            .iter()
            .map(|queue| {
                let orphan = Arc::strong_count(queue) == 1;
                (Arc::clone(queue), orphan)
            })
            .collect()
    }

    fn write(&mut self, batch: &Buffer, reported: &mut Option<Instant>) {
        match self.output.write(&batch.bytes) {
            Ok(()) => {
                self.records.add(batch.records);
                self.bytes.add(batch.bytes.len() as u64);
            }
            Err(error) => {
                self.failed.add(batch.records);
                if reported.is_none_or(|last| last.elapsed() >= REPORT) {
                    *reported = Some(Instant::now());
                    tracing::error!(sink = %self.sink, output = %self.output.name(), records = batch.records, %error, "cannot write log records; they are dropped");
                }
            }
        }
    }
}

pub(super) enum Output {
    Stdout,
    File { path: PathBuf, file: File, checked: Instant },
    Otlp(Sending),
}

impl Output {
    pub(super) fn open(sink: &str, target: SinkTarget) -> Result<Self, SinkError> {
        match target {
            SinkTarget::Stdout => Ok(Self::Stdout),
            SinkTarget::File(path) => match append_to(&path) {
                Ok(file) => Ok(Self::File { path, file, checked: Instant::now() }),
                Err(source) => Err(SinkError::Open { sink: sink.to_owned(), path, source }),
            },
            SinkTarget::Otlp(collector) => Sending::start(sink, &collector)
                .map(Self::Otlp)
                .map_err(|reason| SinkError::Send { sink: sink.to_owned(), reason }),
        }
    }

    /// What becomes of its records after they are written.
    pub(super) fn statistics(&self) -> Option<Arc<Statistics>> {
        match self {
            Self::Otlp(sending) => Some(sending.statistics()),
            Self::Stdout | Self::File { .. } => None,
        }
    }

    /// Opens the file anew if its name no longer leads to it (`logrotate`), looking at most once in [`CHECK`]. While that
    /// fails, the old one is written to: records under an odd name are better than none.
    fn follow(&mut self) {
        let Self::File { path, file, checked } = self else {
            return;
        };
        if checked.elapsed() < CHECK {
            return;
        }
        *checked = Instant::now();
        let same = match (path.metadata(), file.metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            _ => false,
        };
        if !same && let Ok(reopened) = append_to(path) {
            *file = reopened;
        }
    }

    /// Opens the file anew whatever has become of the old one, which stays where that fails.
    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file, checked } = self {
            *checked = Instant::now();
            *file = append_to(path)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::File { file, .. } => file.write_all(bytes),
            Self::Otlp(sending) => {
                sending.send(bytes);
                Ok(())
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
            Self::Otlp(sending) => sending.to(),
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
