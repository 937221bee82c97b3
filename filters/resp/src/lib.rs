//! RESP2 and RESP3 as they pass: where messages begin and end, and as little of what is in them as it takes.
//!
//! Both readers take bytes in whatever pieces they come and look at each once. Nothing of a stream has to be held for them; bodies of bulk strings
//! are skipped by their length, so that they need not be shown to the module. Every length, count and depth has a bound, Redis's own where it has one.

mod bulk;
mod head;
mod inline;
mod line;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use std::fmt;

#[cfg(feature = "sdk")]
use fyke_sdk::Data;

pub use head::Head;
pub use reply::{Replies, Reply, Wants};
pub use request::Requests;

/// The longest bulk string: `proto-max-bulk-len` of Redis.
pub const BULK: u64 = 512 << 20;
/// The most arguments of a command: Redis's limit.
pub const ARGUMENTS: i64 = 1 << 20;
/// The longest inline command: `PROTO_INLINE_MAX_SIZE` of Redis.
pub const INLINE: usize = 64 << 10;
/// The longest line that carries a number.
pub const HEADER: usize = 64;
/// The longest simple string, error or number in a reply.
pub const LINE: usize = 1 << 20;
/// How deep replies may be nested.
pub const DEPTH: usize = 32;
/// How many elements an aggregate of a reply may have.
pub const ELEMENTS: i64 = u32::MAX as i64;

/// Bytes that are copied out of the host at once.
const WINDOW: usize = 8 << 10;

/// Why a stream is not RESP. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// A line is too long.
    Line,
    /// A line or a bulk string does not end with CR and LF.
    Ending,
    /// A length or a count is no number, or beyond its bound.
    Length,
    /// Something else than a bulk string is an argument, or a type byte is unknown or out of place.
    Type,
    /// A reply is nested too deeply.
    Depth,
    /// Quotes of an inline command do not match.
    Quotes,
    /// HTTP.
    Http,
    /// A reply that nothing asked for.
    Unasked,
}

impl Bad {
    /// The value of the label `reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Ending => "ending",
            Self::Length => "length",
            Self::Type => "type",
            Self::Depth => "depth",
            Self::Quotes => "quotes",
            Self::Http => "http",
            Self::Unasked => "unasked",
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "a line is too long",
            Self::Ending => "a line or a bulk string does not end with CR LF",
            Self::Length => "a length is no number or too large",
            Self::Type => "a type is unknown or out of place",
            Self::Depth => "a reply is nested too deeply",
            Self::Quotes => "quotes of an inline command do not match",
            Self::Http => "this is HTTP",
            Self::Unasked => "a reply that nothing asked for",
        })
    }
}

impl std::error::Error for Bad {}

/// What a reader says after some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More is needed, or a body is to be skipped.
    More,
    /// A message is whole.
    Whole,
    /// What was there says nothing: an empty line, a command without arguments. Nobody answers it.
    Nothing,
}

/// A reader of messages.
pub trait Reader {
    /// Takes bytes up to the end of a message, or of what is shown, or up to a body that is to be skipped; how many.
    ///
    /// # Errors
    /// They are not RESP.
    fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Step), Bad>;
    /// How many bytes come next that nobody needs to see.
    fn body(&self) -> u64;
    /// So many of those have passed.
    fn skip(&mut self, count: u64);
}

/// Bytes that can be looked at in parts.
pub trait Source {
    /// How many there are.
    fn length(&self) -> usize;
    /// At most `length` of them from `start` on.
    fn part(&self, start: usize, length: usize) -> Vec<u8>;
}

#[cfg(feature = "sdk")]
impl Source for Data {
    fn length(&self) -> usize {
        self.len()
    }

    fn part(&self, start: usize, length: usize) -> Vec<u8> {
        self.read(start, length)
    }
}

impl Source for [u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn part(&self, start: usize, length: usize) -> Vec<u8> {
        self.iter().skip(start).take(length).copied().collect()
    }
}

/// Goes through a source with a reader.
pub struct Cursor<'a, S: Source + ?Sized> {
    source: &'a S,
    /// Everything before it was taken.
    at: usize,
    start: usize,
    window: Vec<u8>,
    /// Bytes that may still be looked at.
    left: usize,
    /// Messages, and those that say nothing, that may still be found.
    messages: usize,
}

impl<'a, S: Source + ?Sized> Cursor<'a, S> {
    /// Begins at `at`.
    pub fn new(source: &'a S, at: usize) -> Self {
        Self { source, at, start: 0, window: Vec::new(), left: usize::MAX, messages: usize::MAX }
    }

    /// Looks at about so many bytes and no more; those of bodies that are skipped do not count. Default: all that there are.
    #[must_use]
    pub const fn within(mut self, most: usize) -> Self {
        self.left = most;
        self
    }

    /// Finds so many messages and no more, those that say nothing among them. Default: all that there are.
    #[must_use]
    pub const fn messages(mut self, most: usize) -> Self {
        self.messages = most;
        self
    }

    /// How many bytes may still be looked at.
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Whether something is here that was not taken: [`next`](Self::next) has said that a message is whole, or has done as much as it may.
    pub fn has_more(&self) -> bool {
        self.at < self.source.length()
    }

    /// How many bytes were taken, with those before the beginning.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Up to the end of the next message; `More`: all that is there was taken, or as much as may be.
    ///
    /// # Errors
    /// It is not RESP.
    pub fn next(&mut self, reader: &mut impl Reader) -> Result<Step, Bad> {
        loop {
            let here = self.source.length().saturating_sub(self.at);
            if here == 0 {
                return Ok(Step::More);
            }
            let skipped = usize::try_from(reader.body()).unwrap_or(usize::MAX).min(here);
            if skipped > 0 {
                reader.skip(skipped as u64);
                self.at += skipped;
                continue;
            }
            if self.left == 0 || self.messages == 0 {
                return Ok(Step::More);
            }
            let (taken, step) = reader.feed(self.window())?;
            self.at += taken;
            self.left = self.left.saturating_sub(taken);
            if step != Step::More {
                self.messages -= 1;
                return Ok(step);
            }
            if taken == 0 && reader.body() == 0 {
                // A reader that takes nothing and skips nothing has nothing to say.
                return Ok(Step::More);
            }
        }
    }

    fn window(&mut self) -> &[u8] {
        let end = self.start + self.window.len();
        if self.at < self.start || self.at >= end {
            self.start = self.at;
            self.window = self.source.part(self.at, WINDOW);
        }
        self.window.get(self.at - self.start..).unwrap_or_default()
    }
}
