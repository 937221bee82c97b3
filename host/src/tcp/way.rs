//! One direction of a TCP connection.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::serve::Session;
use crate::{filter::flow, wasm::exchange::Direction};

/// Steps of one direction before the other one and other connections get their turn.
const STEPS: usize = 16;

/// What a direction knows.
pub(super) struct Way {
    direction: Direction,
    /// Some filter looks at the bytes.
    filtered: bool,
    /// Read, and not yet written.
    unsent: Bytes,
    /// Nothing more comes.
    read_end: bool,
    /// An end that is still to come is none: writing to its sender has told of the reset, which reading then does not.
    distrusted: bool,
    /// The end was passed on.
    shut: bool,
    /// Written, and perhaps still in a TLS session's buffer.
    dirty: bool,
    /// Something moved since this was last asked.
    moved: bool,
}

/// Where a direction stands after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits for one of its sockets, or for a filter.
    Waits,
    /// There is more to do, after the others.
    Yields,
    /// Its end was passed on.
    Done,
}

/// Which side broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// The one that was read.
    Reading(io::Error),
    /// The one that was written.
    Writing(io::Error),
}

impl Broken {
    /// The error, whichever side it is of.
    pub fn into_error(self) -> io::Error {
        match self {
            Self::Reading(error) | Self::Writing(error) => error,
        }
    }
}

impl Way {
    pub fn new(direction: Direction, filtered: bool) -> Self {
        Self {
            direction,
            filtered,
            unsent: Bytes::new(),
            read_end: false,
            distrusted: false,
            shut: false,
            dirty: false,
            moved: false,
        }
    }

    /// Whether something moved since the last time.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether its sender has ended it.
    pub fn has_ended(&self) -> bool {
        self.read_end
    }

    /// Whether nothing that was read waits to be written.
    pub fn is_clear(&self) -> bool {
        self.unsent.is_empty() && !self.dirty
    }

    /// Its sender has reset the connection.
    pub fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// What was read and not written belongs to nobody.
    pub fn discard(&mut self) {
        self.unsent = Bytes::new();
        self.dirty = false;
    }

    /// Nobody takes what it carries: it is over, and reads no more.
    pub fn give_up(&mut self, session: &Session) {
        self.unsent = Bytes::new();
        self.finish(session);
    }

    /// It has ended: filters have nothing to add either.
    fn finish(&mut self, session: &Session) {
        self.shut = true;
        session.exchange.borrow_mut().half(self.direction).outlet.end = true;
    }

    /// Moves what can be moved now. With `last`, nothing more is read: what is there is written.
    pub fn step(
        &mut self,
        session: &Rc<Session>,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        last: bool,
    ) -> Result<Step, Broken> {
        for _ in 0..STEPS {
            if self.shut {
                return Ok(Step::Done);
            }
            if self.filtered {
                session.pump(self.direction, cx);
            }
            if self.write(session, cx, to).map_err(Broken::Writing)?.is_pending() {
                return Ok(Step::Waits);
            }
            if last {
                return Ok(Step::Done);
            }
            if self.is_over(session) {
                if Pin::new(&mut *to).poll_shutdown(cx).map_err(Broken::Writing)?.is_pending() {
                    return Ok(Step::Waits);
                }
                self.finish(session);
                self.moved = true;
                return Ok(Step::Done);
            }
            if self.read_end || !self.may_read(session) {
                return Ok(Step::Waits);
            }
            if self.read(session, cx, from, to)?.is_pending() {
                return Ok(Step::Waits);
            }
        }
        Ok(Step::Yields)
    }

    /// Writes all that has passed the filters, and flushes it.
    fn write(
        &mut self,
        session: &Session,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Poll<()>> {
        loop {
            if self.unsent.is_empty() {
                match session.exchange.borrow_mut().half(self.direction).outlet.body.pop() {
                    Some(next) => self.unsent = next,
                    None => break,
                }
            }
            match Pin::new(&mut *to).poll_write(cx, &self.unsent)? {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    self.unsent.advance(count);
                    self.dirty = true;
                    self.moved = true;
                }
            }
        }
        if self.dirty {
            if Pin::new(to).poll_flush(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            self.dirty = false;
        }
        Ok(Poll::Ready(()))
    }

    /// Whether all there will ever be has been written. Called when nothing is left to write.
    fn is_over(&self, session: &Session) -> bool {
        if self.filtered { session.exchange.borrow_mut().half(self.direction).outlet.end } else { self.read_end }
    }

    fn may_read(&self, session: &Session) -> bool {
        !self.filtered || session.exchange.borrow_mut().wants_more(self.direction)
    }

    /// Reads once. Without filters what was read is written from where it lies, and kept only where the other side is slow.
    fn read(
        &mut self,
        session: &Session,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Poll<()>, Broken> {
        let mut scratch = session.runtime.env.stock.scratch.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        match Pin::new(from).poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Err(error)) => return Err(Broken::Reading(error)),
            Poll::Ready(Ok(())) => self.moved = true,
        }
        let mut read = buffer.filled();
        if read.is_empty() {
            if self.distrusted {
                return Err(Broken::Reading(io::ErrorKind::ConnectionReset.into()));
            }
            self.read_end = true;
            if self.filtered {
                flow::push_end(&mut session.exchange.borrow_mut(), self.direction, 0, None);
            }
            return Ok(Poll::Ready(()));
        }
        if self.filtered {
            let bytes = Bytes::copy_from_slice(read);
            flow::push_data(&mut session.exchange.borrow_mut(), self.direction, 0, bytes);
            return Ok(Poll::Ready(()));
        }
        session.exchange.borrow_mut().half(self.direction).bytes += read.len() as u64;
        while !read.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, read).map_err(Broken::Writing)? {
                Poll::Ready(0) => return Err(Broken::Writing(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    read = read.get(count..).unwrap_or_default();
                    self.dirty = true;
                }
                Poll::Pending => {
                    self.unsent = Bytes::copy_from_slice(read);
                    break;
                }
            }
        }
        Ok(Poll::Ready(()))
    }
}
