//! Keys of counters: readable where they are short, unmistakable always.

use data_encoding::BASE64URL_NOPAD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::rules::Measure;

/// What separates, and what people would stumble over. `{` and `}` mean something to a cluster of Redis.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'|').add(b'=').add(b'#').add(b'{').add(b'}').add(b'~');

/// Longer keys are hashed.
const LONGEST: usize = 200;

/// Makes keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    /// All of them begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The key of a counter: `fyke:domain|key=value|key=value|minute`. A longer one is `fyke:#` and a hash of 256 bits, which nobody finds
    /// two keys for.
    pub fn key<'e>(
        &self,
        domain: &str,
        entries: impl Iterator<Item = (&'e str, &'e str)>,
        measure: &Measure,
    ) -> String {
        let mut key = String::with_capacity(self.prefix.len() + 64);
        key.push_str(&self.prefix);
        key.extend(utf8_percent_encode(domain, ESCAPED));
        for (name, value) in entries {
            key.push('|');
            key.extend(utf8_percent_encode(name, ESCAPED));
            key.push('=');
            key.extend(utf8_percent_encode(value, ESCAPED));
        }
        let (unit, mark) = measure.tag();
        key.push('|');
        key.push_str(unit);
        key.push_str(mark);
        if key.len() <= self.prefix.len() + LONGEST {
            return key;
        }
        let hash = Sha256::digest(key.get(self.prefix.len()..).unwrap_or_default());
        format!("{}#{}", self.prefix, BASE64URL_NOPAD.encode(&hash))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::messages::Unit;
    use crate::rules::Algorithm;

    fn measure(unit: Unit) -> Measure {
        Measure { requests_per_unit: 1, unit, algorithm: Algorithm::FixedWindow }
    }

    fn key(domain: &str, entries: &[(String, String)]) -> String {
        let entries = entries.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Keys::new("fyke:").key(domain, entries, &measure(Unit::Minute))
    }

    #[test]
    fn a_key_can_be_read() {
        let entries = [("remote_address".to_owned(), "10.0.0.1".to_owned()), ("path".to_owned(), "/a b".to_owned())];
        assert_eq!(key("edge", &entries), "fyke:edge|remote_address=10.0.0.1|path=/a%20b|minute");
        let window = measure(Unit::Minute);
        let gcra = Measure { algorithm: Algorithm::Gcra { burst: 1 }, ..window };
        let keys = Keys::new("");
        assert_eq!(keys.key("d", std::iter::empty(), &gcra), "d|minute~");
        assert_ne!(keys.key("d", std::iter::empty(), &window), keys.key("d", std::iter::empty(), &measure(Unit::Hour)));
    }

    #[test]
    fn a_long_value_makes_no_long_key() {
        let long = "x".repeat(100_000);
        let one = key("edge", &[("k".to_owned(), format!("{long}1"))]);
        let other = key("edge", &[("k".to_owned(), format!("{long}2"))]);
        assert!(one.len() < 60 && one.starts_with("fyke:#"), "{one}");
        assert_ne!(one, other);
    }

    fn descriptor() -> impl Strategy<Value = (String, Vec<(String, String)>)> {
        let word = "[a|=%#~]{0,3}";
        (word, prop::collection::vec((word, word), 0..3))
    }

    proptest! {
        #[test]
        fn two_descriptors_never_share_a_key(one in descriptor(), other in descriptor()) {
            prop_assert_eq!(one == other, key(&one.0, &one.1) == key(&other.0, &other.1));
        }
    }
}
