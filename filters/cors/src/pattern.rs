//! What origins are like, said in the words of the router's conditions on values.

use fyke_sdk::ConfigError;
use regex_lite::Regex;

use crate::config::OriginMatch;

/// Bytes that are looked at. An expression looks at every one of them, and the client says how many there are. The name of a host has at most
/// 253 (RFC 1035, section 2.3.4), so what is longer than this is no origin.
const LONGEST: usize = 1024;

/// A condition on origins, ready to be checked.
#[derive(Debug)]
pub struct Pattern {
    test: Test,
    case: Case,
}

#[derive(Debug)]
enum Test {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// Anchored at both ends.
    Regex(Regex),
}

#[derive(Debug, Clone, Copy)]
enum Case {
    Counts,
    /// The test's text is in lower case, and so is what it is asked about.
    Ignored,
}

impl Pattern {
    pub fn build(raw: OriginMatch) -> Result<Self, ConfigError> {
        let OriginMatch { exact, prefix, suffix, contains, regex, ignore_case } = raw;
        let texts =
            [("exact", &exact), ("prefix", &prefix), ("suffix", &suffix), ("contains", &contains), ("regex", &regex)];
        for (key, text) in texts {
            match text.as_deref() {
                Some("") => {
                    return Err(ConfigError::at(key, "must not be empty; every origin is the plain text \"*\""));
                }
                Some("*") if key == "exact" => {
                    return Err(ConfigError::at(key, "is no origin; every origin is the plain text \"*\""));
                }
                _ => {}
            }
        }
        let folded = |text: String| if ignore_case { text.to_ascii_lowercase() } else { text };
        let regex = regex.map(|pattern| whole_match(&pattern).map_err(|error| error.under("regex"))).transpose()?;
        let mut tests = [
            exact.map(|text| Test::Exact(folded(text))),
            prefix.map(|text| Test::Prefix(folded(text))),
            suffix.map(|text| Test::Suffix(folded(text))),
            contains.map(|text| Test::Contains(folded(text))),
            regex.map(Test::Regex),
        ]
        .into_iter()
        .flatten();
        let Some(test) = tests.next() else {
            return Err(ConfigError::new("needs one of exact, prefix, suffix, contains and regex"));
        };
        if tests.next().is_some() {
            return Err(ConfigError::new("needs only one of exact, prefix, suffix, contains and regex"));
        }
        if ignore_case && matches!(test, Test::Regex(_)) {
            return Err(ConfigError::at("ignore_case", "is (?i) at the beginning of the expression"));
        }
        Ok(Self { test, case: if ignore_case { Case::Ignored } else { Case::Counts } })
    }

    pub fn matches(&self, origin: &[u8]) -> bool {
        origin.len() <= LONGEST
            && match self.case {
                Case::Counts => self.test.holds(origin),
                Case::Ignored => self.test.holds(&origin.to_ascii_lowercase()),
            }
    }
}

impl Test {
    fn holds(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(text) => origin == text.as_bytes(),
            Self::Prefix(text) => origin.starts_with(text.as_bytes()),
            Self::Suffix(text) => origin.ends_with(text.as_bytes()),
            Self::Contains(text) => origin.windows(text.len().max(1)).any(|part| part == text.as_bytes()),
            // What is no text is what no expression says.
            Self::Regex(regex) => std::str::from_utf8(origin).is_ok_and(|origin| regex.is_match(origin)),
        }
    }
}

/// An expression that must match from the first byte to the last.
fn whole_match(pattern: &str) -> Result<Regex, ConfigError> {
    // Alone first, so that an error speaks of what was written, and so that a stray parenthesis cannot pair with ours.
    compile(pattern)?;
    // With (?x), a comment at the end would swallow our parenthesis; there the line break ends it and means nothing.
    compile(&format!("^(?:{pattern})$")).or_else(|_| compile(&format!("^(?:{pattern}\n)$")))
}

fn compile(pattern: &str) -> Result<Regex, ConfigError> {
    Regex::new(pattern).map_err(|error| ConfigError::new(format!("is not a regular expression: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(set: impl FnOnce(&mut OriginMatch)) -> Pattern {
        let mut raw = OriginMatch::default();
        set(&mut raw);
        Pattern::build(raw).unwrap()
    }

    fn regex(expression: &str) -> Pattern {
        pattern(|raw| raw.regex = Some(expression.to_owned()))
    }

    #[test]
    fn each_kind_holds_where_it_should() {
        let text = || Some("://a.example".to_owned());
        let exact = pattern(|raw| raw.exact = Some("https://a.example".to_owned()));
        let prefix = pattern(|raw| raw.prefix = Some("https://a.".to_owned()));
        for (pattern, good, bad) in [
            (&exact, "https://a.example", "https://a.example:8443"),
            (&prefix, "https://a.example", "http://a.example"),
            (&pattern(|raw| raw.suffix = text()), "https://a.example", "https://a.example:8443"),
            (&pattern(|raw| raw.contains = text()), "https://a.example:8443", "https://b.a.example"),
            (&regex("https?://[a-z]\\.example"), "http://a.example", "https://ab.example"),
        ] {
            assert!(pattern.matches(good.as_bytes()), "{pattern:?}");
            assert!(!pattern.matches(bad.as_bytes()), "{pattern:?}");
            assert!(!pattern.matches(b""), "{pattern:?}");
        }
    }

    #[test]
    fn case_counts_unless_it_is_ignored() {
        let kinds: [fn(&mut OriginMatch, String); 4] = [
            |raw, text| raw.exact = Some(text),
            |raw, text| raw.prefix = Some(text),
            |raw, text| raw.suffix = Some(text),
            |raw, text| raw.contains = Some(text),
        ];
        for kind in kinds {
            for ignore_case in [false, true] {
                let pattern = pattern(|raw| {
                    raw.ignore_case = ignore_case;
                    kind(raw, "https://A.example".to_owned());
                });
                assert!(pattern.matches(b"https://A.example"), "{pattern:?}");
                assert_eq!(pattern.matches(b"HTTPS://a.Example"), ignore_case, "{pattern:?}");
            }
        }
        assert!(!regex("https://a").matches(b"https://A"));
        assert!(regex("(?i)https://a").matches(b"https://A"));
    }

    #[test]
    fn an_expression_matches_all_of_an_origin() {
        let names = regex("https://[a-z]+\\.example\\.com");
        assert!(names.matches(b"https://a.example.com"));
        for bad in [
            "https://a.example.com.evil.org",
            "https://a.example.com:8443",
            "https://a.example.com\n",
            "evil https://a.example.com",
            "https://evil.org/https://a.example.com",
        ] {
            assert!(!names.matches(bad.as_bytes()), "{bad}");
        }
        let either = regex("https://a|https://b");
        assert!(either.matches(b"https://b"));
        assert!(!either.matches(b"https://a.evil") && !either.matches(b"evil https://b"));
        let lines = regex("(?m)^https://a$");
        assert!(lines.matches(b"https://a") && !lines.matches(b"https://a\nhttps://evil"));
        let commented = regex("(?x) https://a # and nothing else");
        assert!(commented.matches(b"https://a") && !commented.matches(b"https://ab"));
    }

    #[test]
    fn what_is_too_long_or_no_text_matches_nothing() {
        let start = "https://";
        let longest = format!("{start}{}", "a".repeat(LONGEST - start.len()));
        for pattern in [regex(".*"), pattern(|raw| raw.prefix = Some(start.to_owned()))] {
            assert!(pattern.matches(longest.as_bytes()), "{pattern:?}");
            assert!(!pattern.matches(format!("{longest}a").as_bytes()), "{pattern:?}");
        }
        assert!(!regex("(?s).*").matches(b"https://\xff"));
    }
}
