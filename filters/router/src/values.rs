//! Conditions on one named value: a header, a query parameter, a cookie.

use std::borrow::Cow;

use fyke_sdk::ConfigError;
use regex_lite::Regex;

use crate::case::Case;
use crate::config::{Range, ValueMatch};
use crate::scan::{Part, Scan};

/// A condition, ready to be checked.
#[derive(Debug)]
pub struct Condition {
    /// Of the header (in lower case), parameter or cookie.
    pub name: String,
    test: Test,
    case: Case,
    missing: Missing,
    invert: bool,
}

#[derive(Debug)]
enum Test {
    Exact(String),
    AnyOf(Vec<String>),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
    Range(Range),
    Present(bool),
}

/// What a value is that is not there.
#[derive(Debug, Clone, Copy)]
enum Missing {
    /// Nothing, which meets no condition.
    Absent,
    /// An empty one.
    Empty,
}

impl Condition {
    pub fn build(raw: ValueMatch) -> Result<Self, ConfigError> {
        if raw.name.is_empty() {
            return Err(ConfigError::at("name", "must not be empty"));
        }
        let regex = raw.regex.map(|pattern| whole_match(&pattern).map_err(|error| error.under("regex"))).transpose()?;
        if let Some(Range { start, end }) = raw.range
            && start >= end
        {
            return Err(ConfigError::at("range", "is empty: start must be below end"));
        }
        if raw.any_of.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConfigError::at("any_of", "must not be empty: nothing would match"));
        }
        let mut tests = [
            raw.exact.map(Test::Exact),
            raw.any_of.map(Test::AnyOf),
            raw.prefix.map(Test::Prefix),
            raw.suffix.map(Test::Suffix),
            raw.contains.map(Test::Contains),
            regex.map(Test::Regex),
            raw.range.map(Test::Range),
            raw.present.map(Test::Present),
        ]
        .into_iter()
        .flatten();
        let test = tests.next().unwrap_or(Test::Present(true));
        if tests.next().is_some() {
            return Err(ConfigError::new(
                "needs only one of exact, any_of, prefix, suffix, contains, regex, range and present",
            ));
        }
        if raw.ignore_case && matches!(test, Test::Regex(_)) {
            return Err(ConfigError::at("ignore_case", "is (?i) at the beginning of the expression"));
        }
        if raw.ignore_case && matches!(test, Test::Range(_) | Test::Present(_)) {
            return Err(ConfigError::at("ignore_case", "means nothing without a text"));
        }
        if raw.treat_missing_as_empty && matches!(test, Test::Present(_)) {
            return Err(ConfigError::at("treat_missing_as_empty", "would make `present` always hold"));
        }
        let missing = if raw.treat_missing_as_empty { Missing::Empty } else { Missing::Absent };
        Ok(Self { name: raw.name, test, case: Case::ignored(raw.ignore_case), missing, invert: raw.invert })
    }

    /// Whether it holds for this value, `None` being its absence.
    pub fn holds(&self, value: Option<&[u8]>, scan: &Scan, part: Part) -> bool {
        let value = match self.missing {
            Missing::Absent => value,
            Missing::Empty => Some(value.unwrap_or_default()),
        };
        let holds = match (&self.test, value) {
            (Test::Present(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            (Test::Exact(text), Some(value)) => self.case.equal(value, text.as_bytes()),
            (Test::AnyOf(texts), Some(value)) => texts.iter().any(|text| self.case.equal(value, text.as_bytes())),
            (Test::Prefix(text), Some(value)) => self.case.after(value, text.as_bytes()).is_some(),
            (Test::Suffix(text), Some(value)) => self.case.ends(value, text.as_bytes()),
            (Test::Contains(text), Some(value)) => self.case.contains(value, text.as_bytes()),
            (Test::Regex(regex), Some(value)) => scan.text(value, part).is_some_and(|value| regex.is_match(value)),
            (Test::Range(range), Some(value)) => std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.parse::<i64>().ok())
                .is_some_and(|value| (range.start..range.end).contains(&value)),
        };
        holds != self.invert
    }
}

/// What has to be of the value.
impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.invert {
            f.write_str("anything but ")?;
        }
        match &self.test {
            Test::Exact(text) => write!(f, "{text:?}"),
            Test::AnyOf(texts) => write!(f, "one of {texts:?}"),
            Test::Prefix(text) => write!(f, "something that begins with {text:?}"),
            Test::Suffix(text) => write!(f, "something that ends with {text:?}"),
            Test::Contains(text) => write!(f, "something with {text:?} in it"),
            Test::Regex(regex) => write!(f, "a match of {:?}", regex.as_str()),
            Test::Range(range) => write!(f, "a number from {} to below {}", range.start, range.end),
            Test::Present(true) => f.write_str("something"),
            Test::Present(false) => f.write_str("nothing"),
        }?;
        if self.case == Case::Ignored { f.write_str(", whatever its case") } else { Ok(()) }
    }
}

/// An expression that must match from the first byte to the last.
pub fn whole_match(pattern: &str) -> Result<Regex, ConfigError> {
    // Alone first, so that an error speaks of what was written, and so that a stray parenthesis cannot pair with ours.
    regex(pattern)?;
    // With (?x), a comment at the end would swallow our parenthesis; there the line break ends it and means nothing.
    regex(&format!("^(?:{pattern})$")).or_else(|_| regex(&format!("^(?:{pattern}\n)$")))
}

/// An expression that may match anywhere.
pub fn regex(pattern: &str) -> Result<Regex, ConfigError> {
    Regex::new(pattern).map_err(|error| ConfigError::new(format!("is not a regular expression: {error}")))
}

/// The first value of a parameter, decoded.
pub fn query_value<'a>(query: Option<&'a [u8]>, name: &str) -> Option<Cow<'a, [u8]>> {
    query?.split(|byte| *byte == b'&').find_map(|pair| {
        let (key, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (pair.get(..at)?, pair.get(at + 1..)?),
            None => (pair, &[][..]),
        };
        (!pair.is_empty() && *decode(key) == *name.as_bytes()).then(|| decode(value))
    })
}

/// `%41` is A and `+` is a space; what is no escape stays.
fn decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        match (first, others) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, tail @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = tail;
                }
                _ => decoded.push(b'%'),
            },
            (other, _) => decoded.push(*other),
        }
    }
    Cow::Owned(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The first value of a cookie in a `cookie` header. Quotes around it are not part of it.
pub fn cookie_value<'a>(cookies: &'a [u8], name: &str) -> Option<&'a [u8]> {
    cookies.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair.get(..at)?, pair.get(at + 1..)?.trim_ascii());
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        (key.trim_ascii() == name.as_bytes()).then_some(unquoted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(json: serde_json::Value) -> Result<Condition, ConfigError> {
        Condition::build(serde_json::from_value(json).unwrap())
    }

    fn holds(condition: &Condition, value: Option<&[u8]>) -> bool {
        condition.holds(value, &Scan::default(), Part::Header)
    }

    #[test]
    fn each_kind_holds_where_it_should() {
        let cases = [
            (serde_json::json!({"name": "x", "exact": "abc"}), "abc", "abcd"),
            (serde_json::json!({"name": "x", "prefix": "ab"}), "abc", "cab"),
            (serde_json::json!({"name": "x", "suffix": "bc"}), "abc", "bca"),
            (serde_json::json!({"name": "x", "contains": "b"}), "abc", "ac"),
            (serde_json::json!({"name": "x", "regex": "a|ab"}), "ab", "abc"),
            (serde_json::json!({"name": "x", "range": {"start": 1, "end": 3}}), "2", "3"),
        ];
        for (json, good, bad) in cases {
            let condition = condition(json).unwrap();
            assert!(holds(&condition, Some(good.as_bytes())), "{condition:?}");
            assert!(!holds(&condition, Some(bad.as_bytes())), "{condition:?}");
            assert!(!holds(&condition, None), "{condition:?}");
        }
    }

    #[test]
    fn presence_and_its_opposite() {
        assert!(holds(&condition(serde_json::json!({"name": "x"})).unwrap(), Some(b"")));
        assert!(holds(&condition(serde_json::json!({"name": "x", "present": false})).unwrap(), None));
        let other = condition(serde_json::json!({"name": "x", "exact": "1", "invert": true})).unwrap();
        assert!(holds(&other, None) && holds(&other, Some(b"2")) && !holds(&other, Some(b"1")));
    }

    #[test]
    fn lists_case_and_absence_widen_a_condition() {
        let any = condition(serde_json::json!({"name": "x", "any_of": ["a", "b"]})).unwrap();
        assert!(holds(&any, Some(b"b")) && !holds(&any, Some(b"B")) && !holds(&any, None));
        let cases = [
            (serde_json::json!({"name": "x", "any_of": ["aB"], "ignore_case": true}), "Ab"),
            (serde_json::json!({"name": "x", "exact": "aB", "ignore_case": true}), "Ab"),
            (serde_json::json!({"name": "x", "prefix": "aB", "ignore_case": true}), "Abc"),
            (serde_json::json!({"name": "x", "suffix": "aB", "ignore_case": true}), "cAb"),
            (serde_json::json!({"name": "x", "contains": "aB", "ignore_case": true}), "cAbc"),
        ];
        for (json, value) in cases {
            assert!(holds(&condition(json.clone()).unwrap(), Some(value.as_bytes())), "{json}");
        }
        let empty = condition(serde_json::json!({"name": "x", "regex": "a*", "treat_missing_as_empty": true})).unwrap();
        assert!(holds(&empty, None) && holds(&empty, Some(b"aa")) && !holds(&empty, Some(b"b")));
    }

    #[test]
    fn contradictions_are_refused() {
        for json in [
            serde_json::json!({"name": "x", "any_of": []}),
            serde_json::json!({"name": "x", "any_of": ["a"], "exact": "a"}),
            serde_json::json!({"name": "x", "regex": "a", "ignore_case": true}),
            serde_json::json!({"name": "x", "ignore_case": true}),
            serde_json::json!({"name": "x", "treat_missing_as_empty": true}),
            serde_json::json!({"name": ""}),
            serde_json::json!({"name": "x", "exact": "a", "prefix": "b"}),
            serde_json::json!({"name": "x", "regex": "("}),
            serde_json::json!({"name": "x", "regex": "a)|(b"}),
            serde_json::json!({"name": "x", "range": {"start": 3, "end": 3}}),
        ] {
            assert!(condition(json.clone()).is_err(), "{json}");
        }
    }

    #[test]
    fn an_expression_with_a_comment_stays_anchored() {
        let regex = whole_match("(?x) ab # two letters").unwrap();
        assert!(regex.is_match("ab"));
        assert!(!regex.is_match("abc"));
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Some(&b"a&v=1+2&%76=3&w=%41%zz"[..]);
        assert_eq!(query_value(query, "a").as_deref(), Some(&b""[..]));
        assert_eq!(query_value(query, "v").as_deref(), Some(&b"1 2"[..]));
        assert_eq!(query_value(query, "w").as_deref(), Some(&b"A%zz"[..]));
        assert_eq!(query_value(query, "x"), None);
        assert_eq!(query_value(None, "x"), None);
    }

    #[test]
    fn cookies_are_found_among_others() {
        assert_eq!(cookie_value(b"a=1; b=\"2\";c = 3", "b"), Some(&b"2"[..]));
        assert_eq!(cookie_value(b"a=1; b=\"2\";c = 3", "c"), Some(&b"3"[..]));
        assert_eq!(cookie_value(b"ab=1", "b"), None);
    }
}
