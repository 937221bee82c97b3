//! Through a document that arrives in pieces.
//!
//! A [`Walker`] is given what is there and says how much of it is done with, and what it wants next: more bytes, or to get over so many
//! of them unseen. A [`Visit`] says of each element whether its value is wanted, whether to go into it, or over it. So of a document
//! of megabytes only the heads of its elements are ever looked at, wherever the pieces are cut.
//!
//! Bounded: how deep it goes ([`DEPTH`]), how long a value may be that is taken ([`LONGEST`]), and how many bytes below the first level are read
//! (`budget`); when that is used up the rest of the inner document is passed over, and the outer one goes on.

use super::{Broken, SHORTEST, Size, Value, int32, kind, prefixed, size};

/// Documents inside of each other that are gone into. Deeper ones are passed over by their length.
pub const DEPTH: usize = 6;
/// The longest text that is taken, in bytes with its length and zero; longer ones are passed over.
pub const LONGEST: usize = 4096;
/// What is looked at of the document around one that was left because the budget was used up, in bytes: behind a batch comes its cursor.
const GRACE: usize = 512;
/// What getting over a long value costs of the budget, in bytes.
const FAR: usize = 256;
/// The longest name of an element that is compared to anything.
const NAME: usize = 256;

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nobody needs it.
    Skip,
    /// It is wanted, if it is no longer than [`LONGEST`].
    Take,
    /// Its own elements are looked at, in this context.
    Enter(u8),
}

/// Who looks at a document. Contexts are the visitor's own numbers for where in a message something stands.
pub trait Visit {
    /// What is wanted of a value. Asked again where bytes were missing.
    fn wish(&self, context: u8, kind: u8, name: &[u8]) -> Wish;
    /// A value that was wanted.
    fn value(&mut self, context: u8, name: &[u8], value: Value<'_>);
    /// A document or array is gone into.
    fn enter(&mut self, context: u8, kind: u8, name: &[u8], inside: u8) {
        let _ = (context, kind, name, inside);
    }
    /// A value was passed over.
    fn passed(&mut self, context: u8, kind: u8, name: &[u8]) {
        let _ = (context, kind, name);
    }
    /// A document was left. `whole` has its length and how much of it was walked, where the budget ended before it did.
    fn leave(&mut self, context: u8, whole: Option<(u32, u32)>) {
        let _ = (context, whole);
    }
}

/// What a walker wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At least so many bytes at once.
    More(usize),
    /// To get over so many bytes: the next ones that it is given are those behind them.
    Skip(usize),
    /// Nothing.
    Done,
}

#[derive(Debug, Clone, Copy, Default)]
struct Level {
    context: u8,
    length: u32,
    /// With the zero at its end.
    left: u32,
}

/// Where in a document somebody is.
#[derive(Debug, Default)]
pub struct Walker {
    levels: [Level; DEPTH],
    depth: usize,
    /// A document is to begin: in this context, no longer than that.
    begin: Option<(u8, usize)>,
    skip: usize,
    /// Zeros to be found before the walk goes on, and the type of the value behind them.
    scan: u8,
    behind: Option<u8>,
    budget: usize,
}

/// What was found at the front of some bytes.
enum Found {
    Used(usize),
    More(usize),
}

impl Walker {
    /// Begins a document that is at most `limit` bytes long.
    pub fn start(&mut self, context: u8, limit: usize, budget: usize) {
        *self = Self { begin: Some((context, limit)), budget, ..Self::default() };
    }

    /// Goes as far as the bytes go. Returns how many of them are done with.
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn step(&mut self, bytes: &[u8], visit: &mut impl Visit) -> Result<(usize, Next), Broken> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if self.skip > 0 {
                let now = self.skip.min(rest.len());
                self.skip -= now;
                used += now;
                if self.skip > 0 {
                    return Ok((used, Next::Skip(std::mem::take(&mut self.skip))));
                }
                continue;
            }
            let found = if let Some((context, limit)) = self.begin {
                self.open(rest, context, limit)?
            } else if self.depth == 0 {
                return Ok((used, Next::Done));
            } else if self.scan > 0 {
                self.scan(rest)?
            } else {
                self.element(rest, visit)?
            };
            match found {
                Found::Used(count) => used += count,
                Found::More(count) => return Ok((used, Next::More(count))),
            }
        }
    }

    /// There will be no more bytes: leaves all documents where they are.
    pub fn abandon(&mut self, visit: &mut impl Visit) {
        while self.depth > 0 {
            self.depth -= 1;
            if let Some(level) = self.levels.get(self.depth) {
                visit.leave(level.context, Some((level.length, level.length - level.left)));
            }
        }
    }

    fn open(&mut self, bytes: &[u8], context: u8, limit: usize) -> Result<Found, Broken> {
        let Some(length) = int32(bytes, 0) else { return Ok(Found::More(4)) };
        let length = usize::try_from(length).map_err(|_| Broken::Length)?;
        if !(SHORTEST..=limit).contains(&length) {
            return Err(Broken::Length);
        }
        self.begin = None;
        self.push(context, length)?;
        Ok(Found::Used(4))
    }

    fn push(&mut self, context: u8, length: usize) -> Result<(), Broken> {
        let length = u32::try_from(length).map_err(|_| Broken::Length)?;
        let level = self.levels.get_mut(self.depth).ok_or(Broken::Length)?;
        *level = Level { context, length, left: length.checked_sub(4).ok_or(Broken::Length)? };
        self.depth += 1;
        Ok(())
    }

    fn level(&mut self) -> Result<&mut Level, Broken> {
        self.levels.get_mut(self.depth.wrapping_sub(1)).ok_or(Broken::End)
    }

    /// Takes bytes from the document at hand: all but its last zero may be.
    fn take(&mut self, count: usize) -> Result<(), Broken> {
        let level = self.level()?;
        let count = u32::try_from(count).map_err(|_| Broken::Length)?;
        level.left = level.left.checked_sub(count).filter(|left| *left > 0).ok_or(Broken::Length)?;
        Ok(())
    }

    /// Looks for a zero that is further away than anything that matters.
    fn scan(&mut self, bytes: &[u8]) -> Result<Found, Broken> {
        let Some(end) = bytes.iter().position(|byte| *byte == 0) else {
            if bytes.is_empty() {
                return Ok(Found::More(1));
            }
            self.take(bytes.len())?;
            return Ok(Found::Used(bytes.len()));
        };
        if self.scan > 1 || self.behind.is_none() {
            self.take(end + 1)?;
            self.scan -= 1;
            return Ok(Found::Used(end + 1));
        }
        // A value behind a long name: nobody wants it.
        let Some(kind) = self.behind else { return Ok(Found::Used(0)) };
        let whole = match size(kind)? {
            Size::Fixed(length) => length,
            Size::Prefixed(extra) => match int32(bytes, end + 1) {
                Some(length) => prefixed(kind, extra, length)?,
                None => return Ok(Found::More(end + 5)),
            },
            Size::Texts => {
                self.take(end + 1)?;
                (self.scan, self.behind) = (2, None);
                return Ok(Found::Used(end + 1));
            }
        };
        self.take(whole.saturating_add(end + 1))?;
        (self.scan, self.behind, self.skip) = (0, None, whole);
        Ok(Found::Used(end + 1))
    }

    fn element(&mut self, bytes: &[u8], visit: &mut impl Visit) -> Result<Found, Broken> {
        let Level { context, length, left } = *self.level()?;
        if self.depth > 1 && self.budget == 0 {
            self.depth -= 1;
            self.skip = left as usize;
            self.budget = GRACE;
            visit.leave(context, Some((length, length - left)));
            return Ok(Found::Used(0));
        }
        let Some((kind, rest)) = bytes.split_first() else { return Ok(Found::More(1)) };
        if *kind == 0 {
            if left != 1 {
                return Err(Broken::End);
            }
            self.depth -= 1;
            visit.leave(context, None);
            return Ok(Found::Used(1));
        }
        let kind = *kind;
        let size = size(kind)?;
        let Some(end) = rest.iter().take(NAME).position(|byte| *byte == 0) else {
            if rest.len() >= NAME {
                self.take(1)?;
                (self.scan, self.behind) = (1, Some(kind));
                return Ok(Found::Used(1));
            }
            // It is not as long as the document.
            return if bytes.len() >= left as usize { Err(Broken::Length) } else { Ok(Found::More(bytes.len() + 1)) };
        };
        let name = rest.get(..end).unwrap_or_default();
        let head = end + 2;
        let used = match size {
            Size::Texts => {
                visit.passed(context, kind, name);
                (self.scan, self.behind) = (2, None);
                self.take(head)?;
                head
            }
            Size::Fixed(length) => {
                let Some(value) = bytes.get(head..head + length) else {
                    return self.want(head + length);
                };
                self.take(head + length)?;
                match visit.wish(context, kind, name) {
                    Wish::Take => visit.value(context, name, Value::read(kind, value)),
                    Wish::Skip | Wish::Enter(_) => visit.passed(context, kind, name),
                }
                head + length
            }
            Size::Prefixed(extra) => {
                let Some(length) = int32(bytes, head) else { return self.want(head + 4) };
                let length = prefixed(kind, extra, length)?;
                let wish = visit.wish(context, kind, name);
                let is_document = matches!(kind, kind::DOCUMENT | kind::ARRAY);
                if let (Wish::Enter(inside), true, true) = (wish, is_document, self.depth < DEPTH) {
                    self.take(head.saturating_add(length))?;
                    visit.enter(context, kind, name, inside);
                    self.push(inside, length)?;
                    head + 4
                } else if wish == Wish::Take && length <= LONGEST {
                    let Some(value) = bytes.get(head..head + length) else { return self.want(head + length) };
                    self.take(head + length)?;
                    visit.value(context, name, Value::read(kind, value));
                    head + length
                } else {
                    self.take(head.saturating_add(length))?;
                    visit.passed(context, kind, name);
                    self.skip = length;
                    if self.depth > 1 {
                        // What is short is read all the same, with what is around it.
                        self.budget = self.budget.saturating_sub(if length > LONGEST { FAR } else { length });
                    }
                    head
                }
            }
        };
        if self.depth > 1 {
            self.budget = self.budget.saturating_sub(used);
        }
        Ok(Found::Used(used))
    }

    /// More bytes, if the document has so many.
    fn want(&mut self, count: usize) -> Result<Found, Broken> {
        let left = self.level()?.left as usize;
        if count < left { Ok(Found::More(count)) } else { Err(Broken::Length) }
    }
}

#[cfg(test)]
mod tests;
