//! A line, in whatever pieces it comes.

use super::Bad;

/// What has come of a line.
#[derive(Debug, Default)]
pub struct Line {
    /// Its beginning, without its end.
    pub kept: Vec<u8>,
    length: usize,
    return_seen: bool,
}

/// What a line may be.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The longest, without its end.
    pub longest: usize,
    /// How much of it is kept.
    pub keep: usize,
}

impl Line {
    /// Takes bytes up to the end of the line; how many, and whether it is whole.
    ///
    /// # Errors
    /// It is too long, or ends badly.
    pub fn feed(&mut self, bytes: &[u8], rule: Rule) -> Result<(usize, bool), Bad> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        self.take(part, rule)?;
        let Some(end) = end else { return Ok((bytes.len(), false)) };
        if !self.return_seen {
            return Err(Bad::Ending);
        }
        Ok((end + 1, true))
    }

    fn take(&mut self, mut part: &[u8], rule: Rule) -> Result<(), Bad> {
        if part.is_empty() {
            return Ok(());
        }
        if self.return_seen {
            return Err(Bad::Ending);
        }
        if let Some(at) = part.iter().position(|byte| *byte == b'\r') {
            if at + 1 != part.len() {
                return Err(Bad::Ending);
            }
            self.return_seen = true;
            part = part.get(..at).unwrap_or_default();
        }
        self.length = self.length.saturating_add(part.len());
        if self.length > rule.longest {
            return Err(Bad::Line);
        }
        let room = rule.keep.saturating_sub(self.kept.len());
        self.kept.extend(part.iter().take(room));
        Ok(())
    }

    /// Whether all of it was kept.
    pub fn is_whole(&self) -> bool {
        self.kept.len() == self.length
    }

    /// For the next one.
    pub fn clear(&mut self) {
        self.kept.clear();
        (self.length, self.return_seen) = (0, false);
    }
}

/// A number as Redis reads it: no signs but a minus, no zeros in front.
pub fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let strict = match digits {
        [b'0'] => digits.len() == text.len(),
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
        [] => false,
    };
    strict.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}
