//! Call sites: which place of its program a client says that an operation comes from.
//!
//! The comment of an operation is JSON (or a document), in which one key has it: `{"callingFunction": "loadUser"}`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::message::Name;

/// The longest comment that is read, in bytes.
const LONGEST: usize = 2048;

/// Keeps the call site of a comment, if it names one.
pub fn read(comment: &[u8], key: &str, callsite: &mut Name) {
    // Most comments are no JSON: those cost nothing.
    if comment.len() > LONGEST || !comment.trim_ascii_start().starts_with(b"{") {
        return;
    }
    let mut json = serde_json::Deserializer::from_slice(comment);
    if let Ok(Some(name)) = json.deserialize_map(One(key)) {
        callsite.set(name.as_bytes());
    }
}

/// The value of one key, if it is text.
struct One<'k>(&'k str);

/// A key or a value, borrowed where it needs no unescaping.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Scalar<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.0 {
                if let Scalar::Text(text) = map.next_value()? {
                    found = Some(text);
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callsite(comment: &str) -> String {
        let mut name = Name::default();
        read(comment.as_bytes(), "callingFunction", &mut name);
        String::from_utf8(name.bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_key_of_a_json_comment_names_the_call_site() {
        for (comment, expected) in [
            (r#"{"callingFunction":"loadUser"}"#, "loadUser"),
            (r#" {"a":[1,{"callingFunction":"no"}],"callingFunction":"lo\u0061d","z":null}"#, "load"),
            (r#"{"callingFunction":7}"#, ""),
            (r#"{"callingFunction":["x"]}"#, ""),
            (r#"{"callingfunction":"x"}"#, ""),
            (r#"{"callingFunction":"x""#, ""),
            ("loadUser", ""),
            ("[1]", ""),
            ("", ""),
        ] {
            assert_eq!(callsite(comment), expected, "{comment}");
        }
        assert_eq!(callsite(&format!(r#"{{"callingFunction":"{}"}}"#, "x".repeat(1000))).len(), Name::LONGEST);
    }
}
