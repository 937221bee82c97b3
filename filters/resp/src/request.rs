//! Commands of a client: arrays of bulk strings, or inline.

use super::bulk::Bulk;
use super::head::Head;
use super::inline::Words;
use super::line::{Line, Rule, number};
use super::{ARGUMENTS, BULK, Bad, HEADER, Reader, Step};

/// Reads commands.
#[derive(Debug, Default)]
pub struct Requests {
    state: State,
    line: Line,
    head: Head,
    /// Arguments that are still to come.
    left: u32,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Start,
    Inline(Words),
    Count,
    Length,
    /// An argument.
    Bulk(Bulk),
}

impl Requests {
    /// The command that is under way, or that is whole since the last step.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Whether an inline command is under way, of which it is not known how many arguments it has.
    pub const fn is_inline(&self) -> bool {
        matches!(self.state, State::Inline(_))
    }

    /// What it keeps room for, in bytes.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.head.size() + self.line.kept.capacity()
    }

    fn on_count(&mut self) -> Result<Step, Bad> {
        let text = self.line.kept.get(1..).unwrap_or_default();
        let count = number(text).filter(|count| *count <= ARGUMENTS).ok_or(Bad::Length)?;
        self.line.clear();
        let Some(count) = u32::try_from(count).ok().filter(|count| *count > 0) else {
            self.state = State::Start;
            return Ok(Step::Nothing);
        };
        self.left = count;
        self.head.begin(count);
        self.state = State::Length;
        Ok(Step::More)
    }

    fn on_length(&mut self) -> Result<(), Bad> {
        let text = self.line.kept.strip_prefix(b"$").ok_or(Bad::Type)?;
        let length = number(text).and_then(|length| u64::try_from(length).ok());
        let length = length.filter(|length| *length <= BULK).ok_or(Bad::Length)?;
        self.line.clear();
        let keep = self.head.open(length) as u64;
        self.state = State::Bulk(Bulk::new(length, keep));
        Ok(())
    }

    fn on_inline(&mut self) -> Result<Step, Bad> {
        self.state = State::Start;
        let Some(first) = self.head.argument(0) else { return Ok(Step::Nothing) };
        // As Redis does: a browser that was led here must not get at anything.
        if first.eq_ignore_ascii_case(b"post") || first.eq_ignore_ascii_case(b"host:") {
            return Err(Bad::Http);
        }
        Ok(Step::Whole)
    }
}

impl Reader for Requests {
    fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Step), Bad> {
        let mut taken = 0;
        while let Some(rest @ [first, ..]) = bytes.get(taken..) {
            match &mut self.state {
                State::Start => {
                    self.head.begin(0);
                    self.state = if *first == b'*' { State::Count } else { State::Inline(Words::default()) };
                }
                State::Inline(words) => {
                    let (count, whole) = words.feed(rest, &mut self.head)?;
                    taken += count;
                    if whole {
                        return Ok((taken, self.on_inline()?));
                    }
                }
                State::Count | State::Length => {
                    let rule = Rule { longest: HEADER, keep: HEADER };
                    let (count, whole) = self.line.feed(rest, rule)?;
                    taken += count;
                    if whole && matches!(self.state, State::Length) {
                        self.on_length()?;
                    } else if whole && self.on_count()? == Step::Nothing {
                        return Ok((taken, Step::Nothing));
                    }
                }
                State::Bulk(bulk) => {
                    let (count, over) = bulk.feed(rest, |kept| self.head.extend(kept))?;
                    taken += count;
                    if count == 0 {
                        return Ok((taken, Step::More));
                    }
                    if over {
                        self.left = self.left.saturating_sub(1);
                        self.state = State::Length;
                        if self.left == 0 {
                            self.state = State::Start;
                            return Ok((taken, Step::Whole));
                        }
                    }
                }
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
