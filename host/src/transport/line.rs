//! A socket as those see it who send to it: whoever has the connection, and the outbox of its thread.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{Interest, ReadBuf},
    time::Instant,
};

use super::{Socket, outbox};

/// How long what was written to a connection that was closed since may take to be taken.
const FAREWELL: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Line {
    pub socket: Socket,
    /// Something of it lies in the outbox.
    posted: AtomicBool,
    /// Something of it lies in `rest`, or it is broken.
    held: AtomicBool,
    /// It has broken while something was sent that was put off. The kernel says that once, and this was the once.
    lost: AtomicBool,
    rest: Mutex<Rest>,
}

/// What the socket did not take.
#[derive(Debug, Default)]
struct Rest {
    bytes: BytesMut,
    broken: Option<io::Error>,
    /// Who waits for it to be gone.
    waker: Option<Waker>,
    /// Who waits for the connection to break.
    watcher: Option<Waker>,
    /// Nobody has the connection any more.
    left: Option<Left>,
}

/// How a connection was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// What was written is to arrive, if it does until then.
    Closed(Instant),
    /// It need not: the peer is to see an accident.
    Cut,
}

impl Line {
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            posted: AtomicBool::new(false),
            held: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            rest: Mutex::default(),
        }
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something of it lies in the outbox.
    pub fn is_posted(&self) -> bool {
        self.posted.load(Ordering::Relaxed)
    }

    /// Something of it lies in the outbox now.
    pub fn post(&self) {
        self.posted.store(true, Ordering::Relaxed);
    }

    /// Whether nothing stands before what is to be sent now.
    ///
    /// # Errors
    /// What became of something that was sent before. It is told once; after that the socket says so itself.
    pub fn poll_clear(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut rest = self.rest();
        if let Some(error) = rest.broken.take() {
            self.held.store(false, Ordering::Relaxed);
            return Poll::Ready(Err(error));
        }
        rest.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Sends what lay in the outbox. Returns whether something is left, for whoever waits until the socket takes it.
    pub fn deliver(&self, bytes: &[u8]) -> bool {
        self.posted.store(false, Ordering::Relaxed);
        if self.held.load(Ordering::Relaxed) {
            let mut rest = self.rest();
            if rest.broken.is_none() {
                rest.bytes.extend_from_slice(bytes);
            }
            return false;
        }
        match self.try_write(bytes) {
            Ok(count) if count >= bytes.len() => false,
            Ok(count) => self.hold(bytes.get(count..).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.hold(bytes),
            Err(error) => {
                self.lose(&mut self.rest(), error);
                self.held.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    fn hold(&self, bytes: &[u8]) -> bool {
        let mut rest = self.rest();
        if rest.left == Some(Left::Cut) {
            return false;
        }
        rest.bytes.extend_from_slice(bytes);
        self.held.store(true, Ordering::Relaxed);
        true
    }

    fn lose(&self, rest: &mut Rest, error: io::Error) {
        rest.broken = Some(error);
        self.lost.store(true, Ordering::Relaxed);
        if let Some(watcher) = rest.watcher.take() {
            watcher.wake();
        }
    }

    /// Waits for an accident that only sending has shown.
    pub fn poll_lost(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.lost.load(Ordering::Relaxed) {
            let mut rest = self.rest();
            if !self.lost.load(Ordering::Relaxed) {
                rest.watcher = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Nobody has the connection any more. Returns whether something of it is still held.
    pub fn leave(&self, cut: bool) -> bool {
        if !self.posted.load(Ordering::Relaxed) && !self.held.load(Ordering::Relaxed) {
            return false;
        }
        let mut rest = self.rest();
        rest.left = Some(if cut { Left::Cut } else { Left::Closed(Instant::now() + FAREWELL) });
        self.held.load(Ordering::Relaxed)
    }

    /// What is held of it has no time any more.
    pub fn is_given_up(&self, now: Instant) -> bool {
        match self.rest().left {
            None => false,
            Some(Left::Cut) => true,
            Some(Left::Closed(until)) => now >= until,
        }
    }

    /// Nobody has the connection any more, and something is held of it.
    pub fn is_left(&self) -> bool {
        self.rest().left.is_some()
    }

    /// Sends what is left, when the socket takes it. Ready: nothing is left, or it never will be taken.
    pub fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut rest = self.rest();
        while !rest.bytes.is_empty() {
            match ready!(self.poll_write(cx, &[IoSlice::new(&rest.bytes)])) {
                Ok(count) => rest.bytes.advance(count),
                Err(error) => {
                    rest.bytes.clear();
                    self.lose(&mut rest, error);
                }
            }
        }
        // What it took in memory need not stay.
        rest.bytes = BytesMut::new();
        if rest.broken.is_none() {
            self.held.store(false, Ordering::Relaxed);
        }
        let waker = rest.waker.take();
        drop(rest);
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(())
    }

    /// Reads from the socket.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(match &self.socket {
                Socket::Tcp(stream) => stream.poll_read_ready(cx),
                Socket::Unix(stream) => stream.poll_read_ready(cx),
            })?;
            let room = buffer.remaining();
            let read = match &self.socket {
                Socket::Tcp(stream) => stream.try_read_buf(buffer),
                Socket::Unix(stream) => stream.try_read_buf(buffer),
            };
            match read {
                // There was no more: to find out by reading once more would be a system call. Where another thread looks after readiness,
                // what has come meanwhile could be overlooked.
                Ok(count) if 0 < count && count < room && outbox::is_open() => {
                    let _ = match &self.socket {
                        Socket::Tcp(stream) => stream.try_io(Interest::READABLE, nothing),
                        Socket::Unix(stream) => stream.try_io(Interest::READABLE, nothing),
                    };
                    return Poll::Ready(Ok(()));
                }
                // Behind an accident there is no end.
                Ok(0) if room > 0 && self.lost.load(Ordering::Relaxed) => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes to the socket.
    pub fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(match &self.socket {
                Socket::Tcp(stream) => stream.poll_write_ready(cx),
                Socket::Unix(stream) => stream.poll_write_ready(cx),
            })?;
            let written = match (slices, &self.socket) {
                ([only], _) => self.try_write(only),
                (_, Socket::Tcp(stream)) => stream.try_write_vectored(slices),
                (_, Socket::Unix(stream)) => stream.try_write_vectored(slices),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn shut_down(&self) -> io::Result<()> {
        let done = match &self.socket {
            Socket::Tcp(stream) => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
            Socket::Unix(stream) => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
        };
        match done {
            // The peer has said that it wants nothing any more.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        }
    }
}

/// That there is nothing to be read now.
fn nothing() -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}
