//! Commands of a client: arrays of bulk strings, or inline.

use super::head::Head;
use super::line::{Line, Rule, number};
use super::{ARGUMENTS, BULK, Bad, HEADER, INLINE, Reader, Step, inline};

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
    Inline,
    Count,
    Length,
    /// Bytes of an argument, of which the first are kept.
    Body {
        left: u64,
        keep: u64,
    },
    /// CR and LF behind it; how many of them are there.
    Ending(u8),
}

impl Requests {
    /// The command that is under way, or that is whole since the last step.
    pub const fn head(&self) -> &Head {
        &self.head
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
        self.state = if length == 0 { State::Ending(0) } else { State::Body { left: length, keep } };
        Ok(())
    }

    fn on_inline(&mut self) -> Result<Step, Bad> {
        let words = inline::words(&self.line.kept)?;
        self.line.clear();
        self.state = State::Start;
        let Some(first) = words.first() else { return Ok(Step::Nothing) };
        // As Redis does: a browser that was led here must not get at anything.
        if first.eq_ignore_ascii_case(b"post") || first.eq_ignore_ascii_case(b"host:") {
            return Err(Bad::Http);
        }
        self.head.begin(u32::try_from(words.len()).unwrap_or(u32::MAX));
        for word in &words {
            let kept = self.head.open(word.len() as u64);
            if kept > 0 {
                self.head.extend(word.get(..kept).unwrap_or_default());
            }
        }
        Ok(Step::Whole)
    }
}

impl Reader for Requests {
    fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Step), Bad> {
        let mut taken = 0;
        while let Some(rest @ [first, ..]) = bytes.get(taken..) {
            match self.state {
                State::Start => {
                    self.head.begin(0);
                    self.state = if *first == b'*' { State::Count } else { State::Inline };
                }
                State::Inline => {
                    let rule = Rule { longest: INLINE, keep: INLINE, loose: true };
                    let (count, whole) = self.line.feed(rest, rule)?;
                    taken += count;
                    if whole {
                        return Ok((taken, self.on_inline()?));
                    }
                }
                State::Count | State::Length => {
                    let rule = Rule { longest: HEADER, keep: HEADER, loose: false };
                    let (count, whole) = self.line.feed(rest, rule)?;
                    taken += count;
                    if whole && matches!(self.state, State::Length) {
                        self.on_length()?;
                    } else if whole && self.on_count()? == Step::Nothing {
                        return Ok((taken, Step::Nothing));
                    }
                }
                State::Body { left: _, keep: 0 } => return Ok((taken, Step::More)),
                State::Body { left, keep } => {
                    let count = usize::try_from(keep).unwrap_or(usize::MAX).min(rest.len());
                    self.head.extend(rest.get(..count).unwrap_or_default());
                    taken += count;
                    let (left, keep) = (left.saturating_sub(count as u64), keep.saturating_sub(count as u64));
                    self.state = if left == 0 { State::Ending(0) } else { State::Body { left, keep } };
                }
                State::Ending(0) if *first == b'\r' => {
                    taken += 1;
                    self.state = State::Ending(1);
                }
                State::Ending(1) if *first == b'\n' => {
                    taken += 1;
                    self.left = self.left.saturating_sub(1);
                    self.state = State::Length;
                    if self.left == 0 {
                        self.state = State::Start;
                        return Ok((taken, Step::Whole));
                    }
                }
                State::Ending(_) => return Err(Bad::Ending),
            }
        }
        Ok((taken, Step::More))
    }

    fn body(&self) -> u64 {
        match self.state {
            State::Body { left, keep: 0 } => left,
            _ => 0,
        }
    }

    fn skip(&mut self, count: u64) {
        if let State::Body { left, keep: 0 } = self.state {
            let left = left.saturating_sub(count);
            self.state = if left == 0 { State::Ending(0) } else { State::Body { left, keep: 0 } };
        }
    }
}
