//! What is inside of a message, in pieces.

use super::{Content, Unreadable, flag, opcode};
use crate::bson::{
    int32, int64,
    walk::{Next, Walker},
};

/// The longest `database.collection`: 64 bytes of database and 255 of both; more than any server takes.
const NAMESPACE: usize = 512;
/// The longest name of a sequence in OP_MSG that is compared to anything.
const SEQUENCE: usize = 64;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    /// OP_MSG: flags.
    Flags,
    /// OP_MSG: a section's kind.
    Section,
    /// The bytes of a command's document that are wanted as they are.
    Raw,
    /// A command's document.
    Document,
    /// OP_MSG: documents of a sequence, so many bytes.
    Sequence(u8, usize),
    /// Legacy: what comes before the first document.
    Head,
}

/// A message being read.
#[derive(Debug, Default)]
pub struct Body {
    stage: Stage,
    opcode: i32,
    /// Bytes of the message that were not used yet, without a checksum.
    left: usize,
    has_document: bool,
    walker: Walker,
    /// Bytes below a document's first level that are looked at.
    budget: usize,
}

impl Body {
    /// Begins one of `length` bytes behind the header.
    ///
    /// # Errors
    /// There is no such kind.
    pub fn start(&mut self, opcode: i32, length: usize, budget: usize) -> Result<(), Unreadable> {
        let stage = match opcode {
            opcode::MSG => Stage::Flags,
            opcode::QUERY
            | opcode::REPLY
            | opcode::GET_MORE
            | opcode::INSERT
            | opcode::UPDATE
            | opcode::DELETE
            | opcode::KILL_CURSORS => Stage::Head,
            opcode::COMMAND | opcode::COMMAND_REPLY => Stage::Nothing,
            _ => return Err(Unreadable::Opcode),
        };
        (self.stage, self.opcode, self.left, self.has_document, self.budget) = (stage, opcode, length, false, budget);
        Ok(())
    }

    /// There will be no more bytes.
    pub fn abandon(&mut self, content: &mut impl Content) {
        self.walker.abandon(content);
        self.stage = Stage::Nothing;
    }

    /// Whether nothing is to come that anybody looks at.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.stage {
            Stage::Nothing => true,
            Stage::Section => self.left == 0 && self.has_document,
            _ => false,
        }
    }

    /// Goes as far as the bytes go; they are the message's own. Returns how many of them are done with.
    ///
    /// # Errors
    /// What is wrong with the message.
    pub fn step(&mut self, bytes: &[u8], content: &mut impl Content) -> Result<(usize, Next), Unreadable> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let rest = rest.get(..self.left.min(rest.len())).unwrap_or_default();
            let (count, next) = self.once(rest, content)?;
            used += count;
            self.left = self.left.checked_sub(count).ok_or(Unreadable::Short)?;
            match next {
                None => {}
                Some(Next::More(more)) if more > self.left => return Err(Unreadable::Short),
                Some(Next::Skip(skip)) => {
                    self.left = self.left.checked_sub(skip).ok_or(Unreadable::Short)?;
                    return Ok((used, Next::Skip(skip)));
                }
                Some(other) => return Ok((used, other)),
            }
        }
    }

    fn once(&mut self, bytes: &[u8], content: &mut impl Content) -> Result<(usize, Option<Next>), Unreadable> {
        match self.stage {
            Stage::Nothing => Ok((0, Some(Next::Done))),
            Stage::Flags => self.flags(bytes, content),
            Stage::Section => self.section(bytes, content),
            Stage::Head => self.head(bytes, content),
            Stage::Raw => {
                let Some(length) = int32(bytes, 0) else { return more(4) };
                let length = usize::try_from(length).unwrap_or_default().min(self.left);
                let wanted = length.min(content.wants_raw());
                let Some(raw) = bytes.get(..wanted) else { return more(wanted) };
                content.raw(raw);
                self.stage = Stage::Document;
                Ok((0, None))
            }
            Stage::Document => {
                let (used, next) = self.walker.step(bytes, content)?;
                if next != Next::Done {
                    return Ok((used, Some(next)));
                }
                content.body_read();
                self.stage = if self.opcode == opcode::MSG { Stage::Section } else { Stage::Nothing };
                Ok((used, None))
            }
            Stage::Sequence(context, left) => {
                let (used, next) = self.walker.step(bytes, content)?;
                let skipped = if let Next::Skip(skip) = next { skip } else { 0 };
                let left = left.checked_sub(used + skipped).ok_or(Unreadable::Section)?;
                self.stage = Stage::Sequence(context, left);
                match next {
                    Next::Done if left == 0 => {
                        content.sequence_read(context);
                        self.stage = Stage::Section;
                        Ok((used, None))
                    }
                    Next::Done => {
                        self.walker.start(context, left, self.budget);
                        Ok((used, None))
                    }
                    other => Ok((used, Some(other))),
                }
            }
        }
    }

    /// A command's document begins, behind `before` bytes that are not taken off yet.
    fn document(&mut self, before: usize, content: &mut impl Content) {
        self.has_document = true;
        self.walker.start(content.root(), self.left.saturating_sub(before), self.budget);
        self.stage = if content.wants_raw() > 0 { Stage::Raw } else { Stage::Document };
    }

    fn flags(&mut self, bytes: &[u8], content: &mut impl Content) -> Result<(usize, Option<Next>), Unreadable> {
        let Some(flags) = int32(bytes, 0) else { return more(4) };
        let flags = flags.cast_unsigned();
        if flags & flag::REQUIRED & !(flag::CHECKSUM | flag::MORE_TO_COME) != 0 {
            return Err(Unreadable::Flag);
        }
        if flags & flag::CHECKSUM != 0 {
            self.left = self.left.checked_sub(4).filter(|left| *left >= 4).ok_or(Unreadable::Short)?;
        }
        content.flags(flags);
        self.stage = Stage::Section;
        Ok((4, None))
    }

    fn section(&mut self, bytes: &[u8], content: &mut impl Content) -> Result<(usize, Option<Next>), Unreadable> {
        if self.left == 0 {
            return if self.has_document { Ok((0, Some(Next::Done))) } else { Err(Unreadable::Section) };
        }
        match bytes.first() {
            None => more(1),
            Some(0) if !self.has_document => {
                self.document(1, content);
                Ok((1, None))
            }
            Some(1) => {
                let Some(size) = int32(bytes, 1) else { return more(5) };
                let size = usize::try_from(size).map_err(|_| Unreadable::Section)?;
                if size < 5 || size > self.left - 1 {
                    return Err(Unreadable::Section);
                }
                let name = bytes.get(5..).unwrap_or_default();
                let name = name.get(..name.len().min(size - 4)).unwrap_or_default();
                let end = name.iter().take(SEQUENCE).position(|byte| *byte == 0);
                let Some(end) = end else {
                    if name.len() == size - 4 {
                        return Err(Unreadable::Section);
                    }
                    return if name.len() < SEQUENCE { more(bytes.len() + 1) } else { Ok((1, Some(Next::Skip(size)))) };
                };
                let documents = size - 5 - end;
                match name.get(..end).and_then(|name| content.sequence(name)) {
                    Some(context) if documents > 0 => {
                        self.walker.start(context, documents, self.budget);
                        self.stage = Stage::Sequence(context, documents);
                        Ok((6 + end, None))
                    }
                    _ if documents == 0 => Ok((6 + end, None)),
                    _ => Ok((6 + end, Some(Next::Skip(documents)))),
                }
            }
            Some(_) => Err(Unreadable::Section),
        }
    }

    /// What legacy messages have before their first document.
    fn head(&mut self, bytes: &[u8], content: &mut impl Content) -> Result<(usize, Option<Next>), Unreadable> {
        if self.opcode == opcode::REPLY {
            let (Some(flags), Some(cursor), Some(count)) = (int32(bytes, 0), int64(bytes, 4), int32(bytes, 16)) else {
                return more(20);
            };
            content.flags(flags.cast_unsigned());
            content.cursor(cursor);
            content.documents(count);
            if count > 0 && self.left > 20 {
                self.document(20, content);
            } else {
                self.finish(content);
            }
            return Ok((20, None));
        }
        let Some(first) = int32(bytes, 0) else { return more(4) };
        if self.opcode == opcode::KILL_CURSORS {
            let Some(count) = int32(bytes, 4) else { return more(8) };
            let whole = usize::try_from(count).ok().and_then(|count| count.checked_mul(8)?.checked_add(8));
            if whole.is_none_or(|whole| whole > self.left) {
                return Err(Unreadable::Short);
            }
            if count > 0 {
                let Some(cursor) = int64(bytes, 8) else { return more(16) };
                content.cursor(cursor);
            }
            self.finish(content);
            return Ok((8, None));
        }
        let name = bytes.get(4..).unwrap_or_default();
        let Some(end) = name.iter().take(NAMESPACE).position(|byte| *byte == 0) else {
            return if name.len() < NAMESPACE { more(bytes.len() + 1) } else { Err(Unreadable::Short) };
        };
        let behind = 5 + end;
        match self.opcode {
            opcode::GET_MORE => {
                let Some(cursor) = int64(bytes, behind + 4) else { return more(behind + 12) };
                content.cursor(cursor);
                content.namespace(name.get(..end).unwrap_or_default());
                self.finish(content);
                Ok((behind + 12, None))
            }
            opcode::QUERY => {
                let head = behind + 8;
                if bytes.len() < head {
                    return more(head);
                }
                content.flags(first.cast_unsigned());
                content.namespace(name.get(..end).unwrap_or_default());
                self.document(head, content);
                Ok((head, None))
            }
            _ => {
                content.namespace(name.get(..end).unwrap_or_default());
                self.finish(content);
                Ok((behind, None))
            }
        }
    }

    fn finish(&mut self, content: &mut impl Content) {
        content.body_read();
        self.stage = Stage::Nothing;
    }
}

const fn more(count: usize) -> Result<(usize, Option<Next>), Unreadable> {
    Ok((0, Some(Next::More(count))))
}
