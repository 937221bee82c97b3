//! Regular expressions for whole paths.
//!
//! Most begin with plain text, as `/api/v1/[0-9]+` does. The index files a route under that text, and the expression,
//! which costs a hundred times as much for each byte, looks only at what follows it. The text is read off the pattern,
//! carefully: where a pattern does anything unusual, less of it is, down to nothing, which is always right and only
//! slower.

use fyke_sdk::ConfigError;
use regex_lite::Regex;

use crate::scan::{Part, Scan};
use crate::values::{regex, whole_match};

/// An expression that must match a path from the first byte to the last.
#[derive(Debug)]
pub struct PathRegex {
    /// What every path begins with that matches.
    beginning: String,
    /// For the bytes from `skip` on.
    expression: Regex,
    skip: usize,
}

impl PathRegex {
    pub fn build(pattern: &str) -> Result<Self, ConfigError> {
        // All of it first, so that an error speaks of what was written.
        regex(pattern)?;
        let (beginning, rest) = split(pattern);
        match whole_match(rest) {
            Ok(expression) if !looks_back(rest) => Ok(Self { skip: beginning.len(), expression, beginning }),
            _ => Ok(Self { beginning, expression: whole_match(pattern)?, skip: 0 }),
        }
    }

    /// What every path begins with that matches.
    pub fn beginning(&self) -> &str {
        &self.beginning
    }

    pub fn matches(&self, path: &[u8], scan: &Scan) -> bool {
        path.starts_with(self.beginning.as_bytes())
            && scan
                .text(path, Part::Target)
                .and_then(|path| path.get(self.skip..))
                .is_some_and(|rest| self.expression.is_match(rest))
    }
}

/// What makes of one thing any number of it.
const REPETITION: [char; 4] = ['*', '?', '{', '+'];

/// The text at the beginning of a pattern, and the pattern behind it.
fn split(pattern: &str) -> (String, &str) {
    let mut rest = match pattern.strip_prefix('^') {
        Some(rest) if !rest.starts_with(REPETITION) => rest,
        _ => pattern,
    };
    let mut beginning = String::new();
    if has_alternatives(rest) {
        return (beginning, rest);
    }
    loop {
        let mut chars = rest.chars();
        let literal = match chars.next() {
            // Letters and digits behind a backslash are classes, assertions and escapes.
            Some('\\') => chars.next().filter(|c| c.is_ascii_punctuation() && !matches!(c, '<' | '>')),
            Some(c) => Some(c).filter(|c| !".+*?()[]{}^$|".contains(*c)),
            None => None,
        };
        let after = chars.as_str();
        match literal {
            // What is repeated is there any number of times.
            Some(literal) if !after.starts_with(REPETITION) => beginning.push(literal),
            _ => return (beginning, rest),
        }
        rest = after;
    }
}

/// Whether the pattern may have alternatives outside of every group.
fn has_alternatives(pattern: &str) -> bool {
    if !pattern.contains('|') {
        return false;
    }
    // Classes and flags can hide parentheses; nobody needs to be clever about them.
    if pattern.contains('[') || pattern.replace("(?:", "").contains("(?") {
        return true;
    }
    let mut depth = 0_usize;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// Whether the pattern may ask what is before a byte, so that it must see all of a path: `^`, `\b` and their kin.
/// `[^/]` does not.
fn looks_back(pattern: &str) -> bool {
    let mut before = ['\0'; 2];
    for c in pattern.chars() {
        let [second, last] = before;
        let class = last == '[' && second != '\\';
        if (c == '^' && !class) || (last == '\\' && "bBAz<>".contains(c)) {
            return true;
        }
        before = [last, c];
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_certain_is_taken() {
        for (pattern, beginning, rest) in [
            ("/api/v1/[0-9]+", "/api/v1/", "[0-9]+"),
            (r"^/a\.b\-c/\d+", "/a.b-c/", r"\d+"),
            ("/plain", "/plain", ""),
            ("/ab*", "/a", "b*"),
            ("/ab?c", "/a", "b?c"),
            ("/ab{0}c", "/a", "b{0}c"),
            ("/ab+c", "/a", "b+c"),
            (r"/a\.+", "/a", r"\.+"),
            ("/a|/b", "", "/a|/b"),
            ("/a(b|c)", "/a", "(b|c)"),
            ("/a[(]|/b", "", "/a[(]|/b"),
            (r"/a\(|/b", "", r"/a\(|/b"),
            ("(?i)/a", "", "(?i)/a"),
            ("/a(?i)b", "/a", "(?i)b"),
            ("/é+", "/", "é+"),
            (".*", "", ".*"),
            ("^*a", "", "^*a"),
            ("", "", ""),
        ] {
            assert_eq!(split(pattern), (beginning.to_owned(), rest), "{pattern}");
        }
    }

    #[test]
    fn what_looks_back_sees_everything() {
        for (pattern, back) in
            [("[^/]+", false), (r"\[^a", true), ("^a", true), (r"\ba", true), (r"a\d", false), (r"\\b", false)]
        {
            // An escaped backslash is taken for the beginning of `\b`: slower, and right.
            assert_eq!(looks_back(pattern), back || pattern == r"\\b", "{pattern}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn nothing_matches_otherwise_than_the_pattern_as_a_whole(
            pattern in r"[ab/]{0,3}[ab/|()\[\]*+?{}0-2.^$\\dxbi:-]{0,9}",
            path in "[ab/(|0-2]{0,7}",
        ) {
            if let Ok(whole) = whole_match(&pattern) {
                let path_regex = PathRegex::build(&pattern).unwrap();
                prop_assert_eq!(path_regex.matches(path.as_bytes(), &Scan::default()), whole.is_match(&path), "{} {}", pattern, path);
            }
        }
    }
}
