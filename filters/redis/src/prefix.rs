//! Prefixes of keys: a label whose values are bounded in length and in number.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::config::Prefix;

/// The value of those that are too many.
const OVERFLOW: &str = "_overflow";

/// The prefixes that were seen.
pub struct Prefixes {
    none: Rc<str>,
    overflow: Rc<str>,
    /// `None`: there are none.
    rule: Option<Rule>,
}

struct Rule {
    delimiter: Vec<u8>,
    depth: usize,
    longest: usize,
    most: usize,
    known: RefCell<HashMap<Box<[u8]>, Rc<str>>>,
}

impl Prefixes {
    /// As configured.
    pub fn new(prefix: Option<&Prefix>) -> Self {
        let rule = prefix.map(|prefix| Rule {
            delimiter: prefix.delimiter.as_bytes().to_vec(),
            depth: prefix.depth.into(),
            longest: prefix.maximum_length.into(),
            most: prefix.values.into(),
            known: RefCell::default(),
        });
        Self { none: Rc::from(""), overflow: Rc::from(OVERFLOW), rule }
    }

    /// The prefix of a key; empty where there is no key, or no delimiter in it.
    pub fn of(&self, key: Option<&[u8]>) -> Rc<str> {
        let Some((rule, bytes)) = self.rule.as_ref().and_then(|rule| Some((rule, rule.cut(key?)?))) else {
            return self.none.clone();
        };
        let mut known = rule.known.borrow_mut();
        if let Some(prefix) = known.get(bytes) {
            return prefix.clone();
        }
        if known.len() >= rule.most {
            return self.overflow.clone();
        }
        let prefix: Rc<str> = Rc::from(String::from_utf8_lossy(bytes));
        known.insert(bytes.into(), prefix.clone());
        prefix
    }
}

impl Rule {
    fn cut<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let mut end = None;
        let mut from = 0;
        for _ in 0..self.depth {
            let rest = key.get(from..)?;
            let Some(at) = rest.windows(self.delimiter.len()).position(|window| window == self.delimiter) else {
                break;
            };
            end = Some(from + at);
            from += at + self.delimiter.len();
        }
        let end = end?;
        key.get(..end.min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_delimiter_and_there_are_only_so_many() {
        let mut prefix = Prefix { values: 3, maximum_length: 5, ..Prefix::default() };
        let prefixes = Prefixes::new(Some(&prefix));
        assert_eq!(&*prefixes.of(Some(b"user:1:name")), "user");
        assert_eq!(&*prefixes.of(Some(b"longer-than-that:1")), "longe");
        assert_eq!(&*prefixes.of(Some(b"\xff:1")), "\u{fffd}");
        assert_eq!(&*prefixes.of(Some(b"more:1")), OVERFLOW);
        assert_eq!(&*prefixes.of(Some(b"user:2")), "user");
        assert_eq!(&*prefixes.of(Some(b"none")), "");
        assert_eq!(&*prefixes.of(None), "");
        prefix = Prefix { depth: 2, delimiter: "::".to_owned(), ..Prefix::default() };
        let prefixes = Prefixes::new(Some(&prefix));
        assert_eq!(&*prefixes.of(Some(b"a::b::c")), "a::b");
        assert_eq!(&*prefixes.of(Some(b"a::b")), "a");
        assert_eq!(&*Prefixes::new(None).of(Some(b"a:b")), "");
    }
}
