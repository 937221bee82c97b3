//! Comparing text with or without regard to the case of ASCII letters.

/// Whether `A` is `a`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Case {
    /// No.
    #[default]
    Counts,
    /// Yes (Envoy's `ignore_case`; `case_sensitive: false` of its routes).
    Ignored,
}

impl Case {
    pub fn ignored(yes: bool) -> Self {
        if yes { Self::Ignored } else { Self::Counts }
    }

    pub fn equal(self, left: &[u8], right: &[u8]) -> bool {
        match self {
            Self::Counts => left == right,
            Self::Ignored => left.eq_ignore_ascii_case(right),
        }
    }

    /// What follows `beginning`, if `text` begins so.
    pub fn after<'t>(self, text: &'t [u8], beginning: &[u8]) -> Option<&'t [u8]> {
        let (start, rest) = text.split_at_checked(beginning.len())?;
        self.equal(start, beginning).then_some(rest)
    }

    pub fn ends(self, text: &[u8], end: &[u8]) -> bool {
        let at = text.len().checked_sub(end.len());
        at.and_then(|at| text.get(at..)).is_some_and(|found| self.equal(found, end))
    }

    pub fn contains(self, text: &[u8], part: &[u8]) -> bool {
        part.is_empty() || text.windows(part.len()).any(|window| self.equal(window, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_folded_only_where_that_was_asked_for() {
        for (case, same) in [(Case::Counts, false), (Case::Ignored, true)] {
            assert_eq!(case.equal(b"aB-1", b"Ab-1"), same);
            assert_eq!(case.after(b"ABc", b"ab"), same.then_some(&b"c"[..]));
            assert_eq!(case.ends(b"abC", b"Bc"), same);
            assert_eq!(case.contains(b"xaBy", b"Ab"), same);
            assert!(case.contains(b"x", b"") && case.ends(b"x", b"") && case.after(b"", b"x").is_none());
            assert!(!case.ends(b"c", b"bc"));
        }
    }
}
