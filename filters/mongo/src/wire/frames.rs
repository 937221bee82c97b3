//! Messages in one direction of a connection.

use super::body::Body;
use super::inflate::Inflater;
pub use super::input::{Event, Input, Reach};
use super::{Content, HEADER, Header, LONGEST, Unreadable, opcode};
use crate::bson::int32;
use crate::bson::walk::Next;

/// Bytes that are copied at a time.
const WINDOW: usize = 4 << 10;
/// The same, where whatever is looked at is far apart.
const GLANCE: usize = 256;
/// Bytes that OP_COMPRESSED has before what is compressed.
const COMPRESSED: usize = 9;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Header,
    Body,
    /// OP_COMPRESSED, before what is compressed.
    Compressed,
    /// The compressed bytes: who made them, and how many there should be.
    Squeezed {
        compressor: u8,
        opcode: i32,
        size: usize,
    },
    /// What was found out is told once [`Event::Known`] was.
    Over(Outcome),
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Read { whole: bool },
    Bad(Unreadable),
}

/// One direction.
#[derive(Debug, Default)]
pub struct Frames<C> {
    /// The header of the message at hand, or of the last one.
    pub header: Header,
    /// What is kept of it.
    pub content: C,
    /// Where in the stream it begins.
    pub start: u64,
    stage: Stage,
    body: Body,
    known: bool,
    /// Bytes of the message behind those in the window and in front of the next one.
    left: usize,
    /// Bytes to get over.
    skip: u64,
    window: Vec<u8>,
    /// How much of the window is done with.
    at: usize,
    squeezed: Vec<u8>,
    far: bool,
}

impl<C: Content> Frames<C> {
    /// Whether no message is begun and not at its end.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.stage == Stage::Header && self.skip == 0 && self.at == self.window.len()
    }

    /// Whether a message is at hand of which nothing is decided yet.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        match self.stage {
            Stage::Header => self.at < self.window.len(),
            Stage::Lost => false,
            _ => !self.known,
        }
    }

    /// Where the message at hand, or the one whose header is not all there, begins in the stream; `seen`: how many of its bytes were shown.
    #[must_use]
    pub fn begins(&self, seen: u64) -> u64 {
        let unread = (self.window.len() - self.at) as u64;
        if self.stage == Stage::Header { seen.saturating_sub(unread) } else { self.start }
    }

    /// Up to where the stream was looked at; `seen`: how many of its bytes were shown.
    #[must_use]
    pub fn reached(&self, seen: u64) -> u64 {
        seen.saturating_sub((self.window.len() - self.at) as u64)
    }

    /// Where it ends.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start + self.header.length as u64
    }

    /// Bytes that come next and that nobody needs.
    #[must_use]
    pub const fn unneeded(&self) -> u64 {
        self.skip
    }

    /// So many of them will not be shown.
    pub fn passed(&mut self, count: u64) {
        self.skip = self.skip.saturating_sub(count);
    }

    /// Bytes that this direction holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.window.capacity() + self.squeezed.capacity()
    }

    /// Reads no further in the message at hand: what is left of it is got over.
    pub fn leave(&mut self) {
        self.skip += self.left as u64;
        self.left = 0;
        self.known = true;
        self.squeezed = Vec::new();
        self.stage = Stage::Header;
    }

    /// Goes on from `at` until there is something to tell. `base`: where in the stream the input begins. `None`: the input is used up.
    pub fn advance(
        &mut self,
        input: &impl Input,
        at: &mut usize,
        base: u64,
        reach: &Reach,
        inflater: &mut Inflater,
    ) -> Option<Event> {
        loop {
            self.get_over(input, at);
            if self.skip > 0 && !matches!(self.stage, Stage::Over(_)) {
                self.window = Vec::new();
                self.at = 0;
                return None;
            }
            let wanted = match self.stage {
                Stage::Lost => return None,
                Stage::Header => {
                    let bytes = self.window.get(self.at..).unwrap_or_default();
                    match bytes.first_chunk::<HEADER>().map(Header::read) {
                        None => HEADER,
                        Some(Err(length)) => {
                            self.start = self.begins(base + *at as u64);
                            self.stage = Stage::Lost;
                            return Some(Event::Lost(length));
                        }
                        Some(Ok(header)) => {
                            self.start = self.begins(base + *at as u64);
                            self.begin(header, reach);
                            continue;
                        }
                    }
                }
                Stage::Body => match self.body() {
                    Ok(wanted) => wanted,
                    Err(event) => return Some(event),
                },
                Stage::Compressed => {
                    if self.left < COMPRESSED {
                        self.stage = Stage::Over(Outcome::Bad(Unreadable::Short));
                        continue;
                    }
                    let bytes = self.window.get(self.at..).unwrap_or_default();
                    let (Some(inner), Some(size), Some(compressor)) =
                        (int32(bytes, 0), int32(bytes, 4), bytes.get(8).copied())
                    else {
                        self.fill(COMPRESSED, input, at)?;
                        continue;
                    };
                    self.use_up(COMPRESSED);
                    let size = usize::try_from(size).ok().filter(|size| *size <= LONGEST - HEADER);
                    self.stage = match size {
                        Some(size) if inner != opcode::COMPRESSED => {
                            Stage::Squeezed { compressor, opcode: inner, size }
                        }
                        _ => Stage::Over(Outcome::Bad(Unreadable::Compression)),
                    };
                    continue;
                }
                Stage::Squeezed { compressor, opcode, size } => {
                    let room = reach.compressed.saturating_sub(self.squeezed.len()).min(self.left);
                    if room > 0 {
                        if self.at == self.window.len() {
                            self.fill(1, input, at)?;
                        }
                        let bytes = self.window.get(self.at..).unwrap_or_default();
                        let count = room.min(bytes.len());
                        self.squeezed.extend_from_slice(bytes.get(..count).unwrap_or_default());
                        self.use_up(count);
                        continue;
                    }
                    let outcome = self.inflate(compressor, opcode, size, reach, inflater);
                    self.squeezed = Vec::new();
                    self.stage = Stage::Over(outcome.unwrap_or_else(Outcome::Bad));
                    continue;
                }
                Stage::Over(outcome) => return Some(self.over(outcome)),
            };
            self.fill(wanted, input, at)?;
        }
    }

    fn begin(&mut self, header: Header, reach: &Reach) {
        self.at += HEADER;
        self.header = header;
        self.known = false;
        self.left = header.length - HEADER;
        self.content.begin(&header, header.opcode);
        self.stage = if header.opcode == opcode::COMPRESSED {
            Stage::Compressed
        } else {
            match self.body.start(header.opcode, self.left, reach.document) {
                Ok(()) => Stage::Body,
                Err(unreadable) => Stage::Over(Outcome::Bad(unreadable)),
            }
        };
    }

    /// Reads on in a message that is not compressed: how many bytes it wants at once, or what has become of it.
    fn body(&mut self) -> Result<usize, Event> {
        let bytes = self.window.get(self.at..).unwrap_or_default();
        let bytes = bytes.get(..self.left.min(bytes.len())).unwrap_or_default();
        let step = self.body.step(bytes, &mut self.content);
        let wanted = match step {
            Err(unreadable) => {
                return Err(self.over(Outcome::Bad(unreadable)));
            }
            Ok((used, next)) => {
                self.use_up(used);
                match next {
                    Next::More(count) => count,
                    Next::Skip(count) => {
                        self.skip = count as u64;
                        self.far = count > WINDOW;
                        self.left = self.left.saturating_sub(count);
                        if self.body.is_over() {
                            // Nobody is called when the last byte has passed.
                            self.stage = Stage::Over(Outcome::Read { whole: true });
                        }
                        0
                    }
                    Next::Done => {
                        self.stage = Stage::Over(Outcome::Read { whole: true });
                        0
                    }
                }
            }
        };
        if !self.known && self.content.is_known() {
            self.known = true;
            return Err(Event::Known);
        }
        Ok(wanted)
    }

    fn over(&mut self, outcome: Outcome) -> Event {
        if !self.known && matches!(outcome, Outcome::Read { .. }) {
            self.known = true;
            self.stage = Stage::Over(outcome);
            return Event::Known;
        }
        self.skip += self.left as u64;
        self.left = 0;
        self.stage = Stage::Header;
        match outcome {
            Outcome::Read { whole } => Event::Read { whole },
            Outcome::Bad(unreadable) => Event::Bad(unreadable),
        }
    }

    /// Reads what a compressed message has in it.
    fn inflate(
        &mut self,
        compressor: u8,
        opcode: i32,
        size: usize,
        reach: &Reach,
        inflater: &mut Inflater,
    ) -> Result<Outcome, Unreadable> {
        let whole = self.left == 0;
        self.content.begin(&self.header, opcode);
        self.body.start(opcode, size, reach.document)?;
        let mut squeezed = inflater.begin(compressor, &self.squeezed, whole, reach.inflated.min(size))?;
        let mut at = 0;
        loop {
            let bytes = squeezed.bytes().get(at..).unwrap_or_default();
            let (used, next) = self.body.step(bytes, &mut self.content)?;
            at += used;
            match next {
                Next::Done => return Ok(Outcome::Read { whole: true }),
                Next::Skip(count) => at = at.saturating_add(count),
                Next::More(_) if !squeezed.grow()? => {
                    let cut = !whole || squeezed.bytes().len() >= reach.inflated.min(size);
                    if !cut {
                        return Err(Unreadable::Short);
                    }
                    self.body.abandon(&mut self.content);
                    return Ok(Outcome::Read { whole: false });
                }
                Next::More(_) => {}
            }
        }
    }

    fn use_up(&mut self, count: usize) {
        self.at += count;
        self.left = self.left.saturating_sub(count);
    }

    fn get_over(&mut self, input: &impl Input, at: &mut usize) {
        let here = (self.window.len() - self.at).min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        self.at += here;
        self.skip -= here as u64;
        let there = (input.length() - *at).min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        *at += there;
        self.skip -= there as u64;
    }

    /// Sees to it that `count` bytes are in the window. `None`: the input has not so many.
    fn fill(&mut self, count: usize, input: &impl Input, at: &mut usize) -> Option<()> {
        let there = self.window.len() - self.at;
        if there >= count {
            return Some(());
        }
        if there == 0 {
            self.window = Vec::new();
        } else {
            self.window.drain(..self.at);
        }
        self.at = 0;
        let missing = count - there;
        let window = if std::mem::take(&mut self.far) { GLANCE } else { WINDOW };
        let bytes = input.read(*at, missing.max(window));
        *at += bytes.len();
        if self.window.is_empty() {
            self.window = bytes;
        } else {
            self.window.extend_from_slice(&bytes);
        }
        if self.window.len() >= count {
            return Some(());
        }
        self.window.shrink_to_fit();
        None
    }
}
