//! What a server says: RESP2 and RESP3, nested, with attributes, pushes, and streamed strings and aggregates.

use super::bulk::Bulk;
use super::line::{Line, Rule, number};
use super::{BULK, Bad, DEPTH, ELEMENTS, LINE, Reader, Step};

/// How much is kept of a line, and of the first string of a message.
const KEPT: usize = 64;

/// Reads replies and pushes.
#[derive(Debug, Default)]
pub struct Replies {
    state: State,
    line: Line,
    /// The aggregates around what comes next.
    around: Vec<Frame>,
    reply: Reply,
    /// Whether something of the message has come.
    begun: bool,
}

/// What is known of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its type byte; of what follows attributes.
    pub kind: u8,
    /// Its text, if it is one, or that of its first element: the beginning.
    pub first: Vec<u8>,
    /// The last number on its first level.
    pub number: Option<i64>,
}

impl Reply {
    /// Whether it is an error.
    pub const fn is_error(&self) -> bool {
        matches!(self.kind, b'-' | b'!')
    }

    /// Its first word.
    pub fn word(&self) -> &[u8] {
        self.first.split(|byte| *byte == b' ').next().unwrap_or_default()
    }
}

/// What a reader needs next, for those who have to ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// The rest of a line.
    Line,
    /// So many bytes.
    Bytes(u64),
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Line,
    Bulk(Bulk),
}

#[derive(Debug, Clone, Copy)]
enum Frame {
    Elements {
        left: u64,
        attribute: bool,
    },
    /// Until there is a `.`.
    Open,
    /// Chunks of a streamed string.
    Chunks,
}

impl Replies {
    /// The message that is whole since the last step.
    pub const fn reply(&self) -> &Reply {
        &self.reply
    }

    /// Whether nothing of a message is there.
    pub const fn is_idle(&self) -> bool {
        !self.begun
    }

    /// What it needs next.
    pub const fn wants(&self) -> Wants {
        match self.state {
            State::Line => Wants::Line,
            State::Bulk(Bulk::Body { left, .. }) => Wants::Bytes(left),
            State::Bulk(Bulk::Ending(0)) => Wants::Bytes(2),
            State::Bulk(Bulk::Ending(_)) => Wants::Bytes(1),
        }
    }

    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.reply.kind = 0;
            self.reply.first.clear();
            self.reply.number = None;
        }
    }

    /// Whether what comes next is the message itself, or an element of its first level.
    fn depth(&self) -> usize {
        self.around.iter().filter(|frame| !matches!(frame, Frame::Chunks)).count()
    }

    fn in_attribute(&self) -> bool {
        self.around.iter().any(|frame| matches!(frame, Frame::Elements { attribute: true, .. }))
    }

    /// A line is whole; whether the message is.
    fn on_line(&mut self) -> Result<bool, Bad> {
        let Some((kind, text)) = self.line.kept.split_first() else { return Err(Bad::Type) };
        let (kind, text) = (*kind, text);
        if matches!(self.around.last(), Some(Frame::Chunks)) != (kind == b';') {
            return Err(Bad::Type);
        }
        let outside = !self.in_attribute();
        let depth = self.depth();
        if depth == 0 && outside && !matches!(kind, b'|' | b';') {
            self.reply.kind = kind;
        }
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                if outside && depth <= 1 {
                    if kind == b':' {
                        self.reply.number = number(text);
                    }
                    if self.reply.first.is_empty() {
                        self.reply.first.extend_from_slice(text);
                    }
                }
                self.line.clear();
                Ok(self.done())
            }
            b'$' | b'!' | b'=' | b';' => self.on_string(kind, outside, depth),
            b'*' | b'~' | b'%' | b'>' | b'|' => self.on_aggregate(kind),
            b'.' if text.is_empty() && matches!(self.around.last(), Some(Frame::Open)) => {
                self.line.clear();
                self.around.pop();
                Ok(self.done())
            }
            _ => Err(Bad::Type),
        }
    }

    fn on_string(&mut self, kind: u8, outside: bool, depth: usize) -> Result<bool, Bad> {
        let text = self.line.kept.get(1..).unwrap_or_default();
        if kind == b'$' && text == b"?" {
            self.line.clear();
            self.nest(Frame::Chunks)?;
            return Ok(false);
        }
        let length = self.length(BULK.try_into().unwrap_or(i64::MAX))?;
        self.line.clear();
        let Ok(length) = u64::try_from(length) else {
            return if kind == b'$' { Ok(self.done()) } else { Err(Bad::Length) };
        };
        if kind == b';' && length == 0 {
            self.around.pop();
            return Ok(self.done());
        }
        let wanted = outside && depth <= 1 && self.reply.first.is_empty();
        let keep = if wanted { length.min(KEPT as u64) } else { 0 };
        self.state = State::Bulk(Bulk::new(length, keep));
        Ok(false)
    }

    fn on_aggregate(&mut self, kind: u8) -> Result<bool, Bad> {
        let text = self.line.kept.get(1..).unwrap_or_default();
        if text == b"?" && kind != b'|' && kind != b'>' {
            self.line.clear();
            self.nest(Frame::Open)?;
            return Ok(false);
        }
        let count = self.length(ELEMENTS)?;
        self.line.clear();
        let Ok(count) = u64::try_from(count) else {
            return if kind == b'*' { Ok(self.done()) } else { Err(Bad::Length) };
        };
        let attribute = kind == b'|';
        let left = if attribute || kind == b'%' { count * 2 } else { count };
        if left == 0 {
            // The value that attributes belong to is still to come.
            return Ok(!attribute && self.done());
        }
        self.nest(Frame::Elements { left, attribute })?;
        Ok(false)
    }

    /// The number of a line, -1 to `most`.
    fn length(&self, most: i64) -> Result<i64, Bad> {
        let text = self.line.kept.get(1..).filter(|_| self.line.is_whole()).ok_or(Bad::Length)?;
        number(text).filter(|length| (-1..=most).contains(length)).ok_or(Bad::Length)
    }

    fn nest(&mut self, frame: Frame) -> Result<(), Bad> {
        if self.around.len() >= DEPTH {
            return Err(Bad::Depth);
        }
        self.around.push(frame);
        Ok(())
    }

    /// A value is whole; whether the message is.
    fn done(&mut self) -> bool {
        loop {
            match self.around.last_mut() {
                None => {
                    self.begun = false;
                    return true;
                }
                Some(Frame::Open | Frame::Chunks) => return false,
                Some(Frame::Elements { left, attribute }) => {
                    *left = left.saturating_sub(1);
                    if *left > 0 {
                        return false;
                    }
                    let attribute = *attribute;
                    self.around.pop();
                    if attribute {
                        return false;
                    }
                }
            }
        }
    }
}

impl Reader for Replies {
    fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Step), Bad> {
        let mut taken = 0;
        while let Some(rest @ [_, ..]) = bytes.get(taken..) {
            self.begin();
            let whole = match &mut self.state {
                State::Line => {
                    let (count, whole) = self.line.feed(rest, Rule { longest: LINE, keep: KEPT })?;
                    taken += count;
                    whole && self.on_line()?
                }
                State::Bulk(bulk) => {
                    let (count, over) = bulk.feed(rest, |kept| self.reply.first.extend_from_slice(kept))?;
                    taken += count;
                    if count == 0 {
                        return Ok((taken, Step::More));
                    }
                    if over {
                        self.state = State::Line;
                    }
                    over && self.done()
                }
            };
            if whole {
                return Ok((taken, Step::Whole));
            }
        }
        Ok((taken, Step::More))
    }

    fn body(&self) -> u64 {
        if let State::Bulk(bulk) = self.state { bulk.body() } else { 0 }
    }

    fn skip(&mut self, count: u64) {
        if let State::Bulk(bulk) = &mut self.state {
            bulk.skip(count);
        }
    }
}
