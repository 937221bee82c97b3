//! Names that a client may ask for in its TLS hello.

use std::{fmt, net::IpAddr, str::FromStr};

/// Longest name (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;
/// Longest part of one.
const LONGEST_LABEL: usize = 63;

/// A name, or a family of names. Written `api.example.com` or `*.example.com`; case does not matter, nor does a dot at
/// the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This name, in lower case.
    Exact(String),
    /// All names below this one at any depth, not the name itself, as in Envoy's `server_names`. In lower case, without
    /// `*.`.
    Suffix(String),
}

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing there.
    #[error("a server name is empty; leave the condition out to match connections without one")]
    Empty,
    /// `*`.
    #[error("`*` would match any name; leave the condition out, or name a domain such as `*.example.com`")]
    Any,
    /// A star elsewhere.
    #[error("`{0}`: a star is allowed as the whole first part only, as in `*.example.com`")]
    Star(String),
    /// An address.
    #[error("`{0}` is an address; clients send names only. Use `destination` to match addresses")]
    Address(String),
    /// Too long.
    #[error("`{0}` is too long: a name has at most 253 bytes and each of its parts at most 63")]
    Long(String),
    /// A part is empty.
    #[error("`{0}` has an empty part")]
    EmptyLabel(String),
    /// Other characters.
    #[error(
        "`{name}` has {character:?} in it; names are of letters, digits, `-` and `_`, all else as punycode (`xn--`)"
    )]
    Character {
        /// What was written.
        name: String,
        /// What is wrong in it.
        character: char,
    },
}

impl Pattern {
    /// Whether a name is meant. Allocates nothing.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
        match self {
            Self::Exact(exact) => name.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Suffix(suffix) => name
                .len()
                .checked_sub(suffix.len())
                .and_then(|length| name.split_at_checked(length))
                // Something, a dot, and the suffix.
                .is_some_and(|(below, rest)| {
                    below.len() > 1 && below.ends_with(b".") && rest.eq_ignore_ascii_case(suffix.as_bytes())
                }),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let written = || text.to_owned();
        let name = text.strip_suffix('.').unwrap_or(text);
        match name {
            "" => return Err(PatternError::Empty),
            "*" => return Err(PatternError::Any),
            _ => {}
        }
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            return Err(PatternError::Address(written()));
        }
        let (rest, make): (&str, fn(String) -> Self) = match name.strip_prefix("*.") {
            Some(rest) => (rest, Self::Suffix),
            None => (name, Self::Exact),
        };
        if rest.contains('*') {
            return Err(PatternError::Star(written()));
        }
        if name.len() > LONGEST_NAME {
            return Err(PatternError::Long(written()));
        }
        for label in rest.split('.') {
            if label.is_empty() {
                return Err(PatternError::EmptyLabel(written()));
            }
            if label.len() > LONGEST_LABEL {
                return Err(PatternError::Long(written()));
            }
            let allowed = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
            if let Some(character) = label.chars().find(|character| !allowed(character)) {
                return Err(PatternError::Character { name: written(), character });
            }
        }
        Ok(make(rest.to_ascii_lowercase()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn an_exact_name_matches_itself_in_any_case() {
        assert!(pattern("API.example.com").matches("api.Example.COM"));
        assert!(pattern("api.example.com.").matches("api.example.com"));
        assert!(pattern("api.example.com").matches("api.example.com."));
        assert!(!pattern("api.example.com").matches("x.api.example.com"));
        assert!(!pattern("api.example.com").matches(""));
    }

    #[test]
    fn a_suffix_matches_below_itself_only() {
        let internal = pattern("*.Internal");
        assert!(internal.matches("a.internal"));
        assert!(internal.matches("b.a.INTERNAL"));
        for other in ["internal", ".internal", "ainternal", "internal.a", "a.internal.b", ""] {
            assert!(!internal.matches(other), "{other}");
        }
    }

    #[test]
    fn a_suffix_of_bytes_that_is_no_boundary_of_characters_does_not_panic() {
        assert!(!pattern("*.a").matches("\u{fc}a"));
        assert!(!pattern("*.aa").matches("\u{1f600}a"));
    }

    #[test]
    fn patterns_that_cannot_match_are_refused_in_words() {
        for (text, part) in [
            ("", "empty"),
            ("*", "any name"),
            ("*.", "any name"),
            ("*.*.com", "star"),
            ("a*.com", "star"),
            ("a.*", "star"),
            ("*com", "star"),
            ("10.0.0.1", "address"),
            ("[::1]", "address"),
            ("a..b", "empty part"),
            ("*..b", "empty part"),
            ("b\u{fc}cher.de", "punycode"),
            ("a b", "' '"),
            (&"a".repeat(64), "too long"),
            (&"a.".repeat(128), "too long"),
        ] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!("a.".repeat(127).parse::<Pattern>().is_ok(), "253 bytes and a dot at the end");
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_read_again(text in "(\\*\\.)?[a-zA-Z0-9_-]{1,10}(\\.[a-z]{1,5}){0,3}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert_eq!(pattern.to_string().parse::<Pattern>(), Ok(pattern));
            }
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in ".*", name in ".*") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                let _ = pattern.matches(&name);
            }
        }
    }
}
