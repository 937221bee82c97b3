//! The thread that writes the process's log.
//!
//! Standard error is often a pipe, and who reads it may stop. A worker that wrote there itself would stop too, with all of its
//! streams; so lines are queued, and where [`QUEUE_BYTES`] of them wait, more are dropped and counted.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use super::{Format, levels::Levels};

/// Most bytes that wait to be written.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that are written at once, where so many wait.
const BATCH: usize = 64 * 1024;
/// Bytes of the last lines that are kept, for a support bundle.
const RECENT: usize = 256 * 1024;
/// How long the end of the process waits for its last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait for a non-blocking pipe to be read.
const RETRY: Duration = Duration::from_millis(5);

enum Message {
    Line(Vec<u8>),
    /// The other end is dropped when everything before it was written.
    Flush(mpsc::Sender<()>),
}

/// Where lines are queued.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    lines: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queued: AtomicUsize,
    dropped: AtomicU64,
    recent: Mutex<Recent>,
}

/// The last lines.
#[derive(Debug, Default)]
struct Recent {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, line: &[u8]) {
        self.bytes += line.len();
        self.lines.push_back(line.to_vec());
        while self.bytes > RECENT
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }
}

/// The log of this process. Dropped, it waits for a moment until what is queued was written.
#[derive(Debug)]
pub struct Log {
    queue: Queue,
    levels: Levels,
}

impl Drop for Log {
    fn drop(&mut self) {
        let (written, wait) = mpsc::channel();
        if self.queue.lines.send(Message::Flush(written)).is_ok() {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

impl Log {
    pub(super) fn new(queue: Queue, levels: Levels) -> Self {
        Self { queue, levels }
    }

    /// What the admin endpoint changes and shows of it.
    #[must_use]
    pub fn control(&self) -> Control {
        Control { levels: self.levels.clone(), shared: Arc::clone(&self.queue.shared) }
    }
}

/// What can be changed of a log, and seen, while the process runs.
#[derive(Debug, Clone)]
pub struct Control {
    /// Its levels.
    pub levels: Levels,
    shared: Arc<Shared>,
}

impl Control {
    /// The last lines that were written, oldest first: 256 KiB at most.
    #[must_use]
    pub fn recent(&self) -> String {
        let recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.lines.iter().map(|line| String::from_utf8_lossy(line)).collect()
    }
}

/// Starts the thread on standard error.
pub(super) fn start(format: Format) -> io::Result<Queue> {
    // A descriptor of its own: the lock of `io::stderr` would be held as long as a write blocks.
    let output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    start_on(output, format)
}

fn start_on(mut output: impl Write + Send + 'static, format: Format) -> io::Result<Queue> {
    let (lines, received) = mpsc::channel();
    let shared = Arc::new(Shared::default());
    let queue = Queue { lines, shared: Arc::clone(&shared) };
    thread::Builder::new().name("fyke-log".into()).spawn(move || {
        let mut batch = Vec::new();
        while let Ok(first) = received.recv() {
            let mut flushed = None;
            for message in std::iter::once(first).chain(std::iter::from_fn(|| received.try_recv().ok())) {
                match message {
                    Message::Line(line) => {
                        batch.extend_from_slice(&line);
                        shared.recent.lock().unwrap_or_else(PoisonError::into_inner).push(&line);
                    }
                    Message::Flush(written) => flushed = Some(written),
                }
                if flushed.is_some() || batch.len() >= BATCH {
                    break;
                }
            }
            let queued = batch.len();
            match shared.dropped.swap(0, Ordering::Relaxed) {
                0 => {}
                dropped => batch.extend_from_slice(notice(dropped, format).as_bytes()),
            }
            // Nobody is left to be told that the log cannot be written.
            let _ = write_all(&mut output, &batch);
            shared.queued.fetch_sub(queued, Ordering::Relaxed);
            batch.clear();
            drop(flushed);
        }
    })?;
    Ok(queue)
}

/// Also to a pipe that somebody made non-blocking, as shells and supervisors do: this thread may wait.
fn write_all(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn notice(dropped: u64, format: Format) -> String {
    let message = format!("{dropped} lines of this log were dropped: standard error was not read fast enough");
    match format {
        Format::Text => format!("WARN fyke: {message}\n"),
        Format::Json => {
            serde_json::json!({ "level": "WARN", "target": "fyke", "message": message, "dropped": dropped }).to_string()
                + "\n"
        }
    }
}

/// One line is one write: what `tracing-subscriber` has formatted.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Reserved before the check, so that threads racing for the last bytes cannot both win them.
        let held = self.shared.queued.fetch_add(line.len(), Ordering::Relaxed) + line.len();
        if held > QUEUE_BYTES || self.lines.send(Message::Line(line.to_vec())).is_err() {
            self.shared.queued.fetch_sub(line.len(), Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_writer_that_would_block_gets_everything_in_time() {
        /// Takes a little, every other time.
        #[derive(Default)]
        struct Moody(Vec<u8>, bool);
        impl Write for Moody {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let count = bytes.len().min(3);
                self.0.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut output = Moody::default();
        write_all(&mut output, b"0123456789").unwrap();
        assert_eq!(output.0, b"0123456789");
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_the_loss_is_said() {
        let (mut read, write) = io::pipe().unwrap();
        let mut queue = start_on(write, Format::Json).unwrap();
        let log = Log::new(queue.clone(), Levels::new(String::new(), |_| true));
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // Ten times what is kept: were any of these writes to wait, the test would not end.
        for _ in 0..10 * QUEUE_BYTES / line.len() {
            queue.write_all(&line).unwrap();
        }
        assert!(queue.shared.queued.load(Ordering::Relaxed) <= QUEUE_BYTES);
        let reader = thread::spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).map(|_| text).unwrap()
        });
        drop((queue, log));
        let text = reader.join().unwrap();
        assert!(text.contains("lines of this log were dropped"));
        let whole = text.lines().filter(|line| line.bytes().all(|byte| byte == b'x')).all(|line| line.len() == 1023);
        assert!(whole, "lines are dropped whole");
    }
}
