//! Where in a document: names of fields, one inside the other.

use fyke_sdk::ConfigError;

use crate::document::{Node, NotJson};

/// At least one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    outer: Vec<String>,
    last: String,
}

impl Path {
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut names: Vec<String> = text.split('.').map(str::to_owned).collect();
        match names.pop() {
            Some(last) if !last.is_empty() && names.iter().all(|name| !name.is_empty()) => {
                Ok(Self { outer: names, last })
            }
            _ => Err(ConfigError::new(format!("\"{text}\" is not a field, like user.name"))),
        }
    }

    /// Takes the field out, wherever it is; what was there.
    pub fn take<'a>(&self, document: &mut Node<'a>) -> Result<Option<Node<'a>>, NotJson> {
        document.take(&self.outer, &self.last)
    }

    /// Puts a value there.
    pub fn put<'a>(&'a self, document: &mut Node<'a>, value: Node<'a>) -> Result<(), NotJson> {
        document.put(&self.outer, &self.last, value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    fn text(node: &Node<'_>) -> String {
        let mut out = Vec::new();
        node.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_found_made_and_removed() {
        let two = RawValue::from_string("2".to_owned()).unwrap();
        let (inner, blocked) = (path("a.x.y"), path("c.x"));
        let mut document = Node::parse(br#" { "a": { "b": 1 }, "c": [1] } "#).unwrap();
        inner.put(&mut document, Node::Closed(&two)).unwrap();
        blocked.put(&mut document, Node::Closed(&two)).unwrap();
        assert_eq!(text(&path("a.b").take(&mut document).unwrap().unwrap()), "1");
        assert!(path("a.b.c").take(&mut document).unwrap().is_none());
        assert_eq!(text(&document), r#"{"a":{"x":{"y":2}},"c":[1]}"#);
        for bad in ["", ".", "a.", ".a", "a..b"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_else_changes_and_no_second_field_of_a_name_is_overlooked() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        let body = format!(
            r#"{{"n": 123456789012345678901234567890.10, "e": 1e999, "p": 1, "d": {deep}, "\u0070": 2, "o": {{"p": 3}}, "o": {{"p": 4}}}}"#
        );
        let mut document = Node::parse(body.as_bytes()).unwrap();
        assert_eq!(text(&path("p").take(&mut document).unwrap().unwrap()), "2");
        assert_eq!(text(&path("o.p").take(&mut document).unwrap().unwrap()), "4");
        let expected = format!(r#"{{"n":123456789012345678901234567890.10,"e":1e999,"d":{deep},"o":{{}},"o":{{}}}}"#);
        assert_eq!(text(&document), expected);
    }

    #[test]
    fn a_name_that_is_no_text_hides_nothing() {
        let mut document = Node::parse(br#"{"\ud800": 0, "password": 1}"#).unwrap();
        assert_eq!(path("password").take(&mut document).unwrap_err(), NotJson);
    }
}
