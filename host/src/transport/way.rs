//! One direction of two byte streams that are joined.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Steps of one direction before the other one and other connections get their turn.
const STEPS: usize = 16;

/// What stands between both sides, and sees what passes. Whoever only counts bytes leaves out all that has a default.
pub trait Between {
    /// Names a direction.
    type Direction: Copy;

    /// Where bytes lie between one side and the other. Shared by all that one thread joins.
    fn scratch(&self) -> &RefCell<Box<[u8]>>;

    /// Most bytes that are read at once, and so what is held of a direction that is not looked at when its reader is slow. Default: as many
    /// as the scratch buffer has room for.
    fn most(&self) -> usize {
        usize::MAX
    }

    /// Bytes were read that nobody looks at.
    fn passed(&self, direction: Self::Direction, count: usize);

    /// Does what can be done with what was pushed, and remembers whom to wake when there is more.
    fn work(&self, _: Self::Direction, _: &Context<'_>) {}

    /// Whether more is wanted of a direction that is looked at.
    fn wants_more(&self, _: Self::Direction) -> bool {
        true
    }

    /// Bytes were read that are to be looked at.
    fn push(&self, _: Self::Direction, _: Bytes) {}

    /// The end was read of a direction that is looked at.
    fn push_end(&self, _: Self::Direction) {}

    /// The next bytes to be written, in a direction that is not looked at too.
    fn pop(&self, _: Self::Direction) -> Option<Bytes> {
        None
    }

    /// Whether there will be no more to [`pop`](Self::pop), in a direction that is looked at. Asked when there is nothing.
    fn is_over(&self, _: Self::Direction) -> bool {
        false
    }

    /// A direction is over: nobody can add to it.
    fn finish(&self, _: Self::Direction) {}
}

/// What a direction knows. Idle, it holds no buffer.
#[derive(Debug)]
pub struct Way<D> {
    direction: D,
    /// Somebody looks at the bytes.
    filtered: bool,
    /// Read, and not yet written.
    unsent: Bytes,
    /// Nothing more comes.
    read_end: bool,
    /// An end that is still to come is none: writing to its sender has told of the reset, which reading then does not.
    distrusted: bool,
    /// The end is being passed on.
    shutting: bool,
    /// The end was passed on.
    shut: bool,
    /// Written, and perhaps still in a TLS session's buffer.
    dirty: bool,
    /// Something moved since this was last asked.
    moved: bool,
    /// How often that was asked since anything moved, while something waits to be written.
    stuck: u32,
}

/// Where a direction stands after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It waits for one of its sides, or for who looks at it.
    Waits,
    /// There is more to do, after the others.
    Yields,
    /// Its end was passed on.
    Done,
}

/// Which side broke.
#[derive(Debug)]
pub enum Broken {
    /// The one that was read.
    Reading(io::Error),
    /// The one that was written.
    Writing(io::Error),
}

impl<D: Copy> Way<D> {
    /// A direction on which nothing has moved. `filtered`: somebody looks at its bytes.
    pub fn new(direction: D, filtered: bool) -> Self {
        Self {
            direction,
            filtered,
            unsent: Bytes::new(),
            read_end: false,
            distrusted: false,
            shutting: false,
            shut: false,
            dirty: false,
            moved: false,
            stuck: 0,
        }
    }

    /// What was read and not written belongs to nobody.
    pub fn discard(&mut self) {
        self.unsent = Bytes::new();
        self.dirty = false;
    }

    /// Whether something moved since the last time.
    pub fn has_moved(&mut self) -> bool {
        let moved = std::mem::take(&mut self.moved);
        self.stuck = if moved || self.is_clear() { 0 } else { self.stuck + 1 };
        moved
    }

    /// How often in a row [`has_moved`](Self::has_moved) has found that something waits to be written, and that nothing had moved.
    #[must_use]
    pub fn stuck(&self) -> u32 {
        self.stuck
    }

    /// Whether its sender has ended it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.read_end
    }

    /// Whether nothing that was read waits to be written.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.unsent.is_empty() && !self.dirty && (self.shut || !self.shutting)
    }

    /// Its sender has reset the connection.
    pub fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// Nobody takes what it carries: it is over, and reads no more.
    pub fn give_up<B: Between<Direction = D>>(&mut self, between: &B) {
        self.unsent = Bytes::new();
        self.dirty = false;
        self.finish(between);
    }

    /// It has ended: nobody has anything to add either.
    fn finish<B: Between<Direction = D>>(&mut self, between: &B) {
        self.shut = true;
        between.finish(self.direction);
    }

    /// Moves what can be moved now. With `last`, nothing more is read: what is there is written.
    ///
    /// # Errors
    /// [`Broken`]: the side that broke, and how.
    pub fn step<B: Between<Direction = D>>(
        &mut self,
        between: &B,
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
                between.work(self.direction, cx);
            }
            if self.write(between, cx, to).map_err(Broken::Writing)?.is_pending() {
                return Ok(Step::Waits);
            }
            if last {
                return Ok(Step::Done);
            }
            if self.is_over(between) {
                self.shutting = true;
                if Pin::new(&mut *to).poll_shutdown(cx).map_err(Broken::Writing)?.is_pending() {
                    return Ok(Step::Waits);
                }
                self.finish(between);
                self.moved = true;
                return Ok(Step::Done);
            }
            if self.read_end || (self.filtered && !between.wants_more(self.direction)) {
                return Ok(Step::Waits);
            }
            if self.read(between, cx, from, to)?.is_pending() {
                return Ok(Step::Waits);
            }
        }
        Ok(Step::Yields)
    }

    /// Writes all that is to be written, and flushes it.
    fn write<B: Between<Direction = D>>(
        &mut self,
        between: &B,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Poll<()>> {
        loop {
            if self.unsent.is_empty() {
                match between.pop(self.direction) {
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
    fn is_over<B: Between<Direction = D>>(&self, between: &B) -> bool {
        if self.filtered { between.is_over(self.direction) } else { self.read_end }
    }

    /// Reads once. What nobody looks at is written from where it lies, and kept only where the other side is slow.
    fn read<B: Between<Direction = D>>(
        &mut self,
        between: &B,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Poll<()>, Broken> {
        let mut scratch = between.scratch().borrow_mut();
        let most = scratch.len().min(between.most());
        let mut buffer = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
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
                between.push_end(self.direction);
            }
            return Ok(Poll::Ready(()));
        }
        if self.filtered {
            between.push(self.direction, Bytes::copy_from_slice(read));
            return Ok(Poll::Ready(()));
        }
        between.passed(self.direction, read.len());
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
