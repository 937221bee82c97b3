//! Where in a document: names of fields, one inside the other.

use fyke_sdk::ConfigError;
use serde_json::value::RawValue;

use crate::object::Object;

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
    pub fn remove(&self, document: &mut Box<RawValue>) -> Option<Box<RawValue>> {
        take(&self.outer, &self.last, document)
    }

    /// Puts a value there. Where the way leads through something that is no object, nothing happens.
    pub fn set(&self, document: &mut Box<RawValue>, new: &RawValue) {
        put(&self.outer, &self.last, document, new);
    }
}

fn take(outer: &[String], last: &str, document: &mut Box<RawValue>) -> Option<Box<RawValue>> {
    let mut object = Object::open(document)?;
    let taken = match outer.split_first() {
        None => object.take(last),
        Some((name, inner)) => object.values_mut(name).filter_map(|value| take(inner, last, value)).last(),
    }?;
    *document = object.close()?;
    Some(taken)
}

fn put(outer: &[String], last: &str, document: &mut Box<RawValue>, new: &RawValue) {
    let Some(mut object) = Object::open(document) else { return };
    match outer.split_first() {
        None => object.put(last, new.to_owned()),
        Some((name, inner)) => {
            if let (false, Some(empty)) = (object.has(name), Object::default().close()) {
                object.put(name, empty);
            }
            object.values_mut(name).for_each(|value| put(inner, last, value, new));
        }
    }
    if let Some(closed) = object.close() {
        *document = closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn fields_are_found_made_and_removed() {
        let mut document = raw(r#"{ "a": { "b": 1 }, "c": [1] }"#);
        Path::parse("a.x.y").unwrap().set(&mut document, &raw("2"));
        Path::parse("c.x").unwrap().set(&mut document, &raw("2"));
        assert_eq!(Path::parse("a.b").unwrap().remove(&mut document).unwrap().get(), "1");
        assert!(Path::parse("a.b.c").unwrap().remove(&mut document).is_none());
        assert_eq!(document.get(), r#"{"a":{"x":{"y":2}},"c":[1]}"#);
        for bad in ["", ".", "a.", ".a", "a..b"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_else_changes_and_no_second_field_of_a_name_is_overlooked() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        let mut document = raw(&format!(
            r#"{{"n": 123456789012345678901234567890.10, "e": 1e999, "p": 1, "d": {deep}, "p": 2, "o": {{"p": 3}}, "o": {{"p": 4}}}}"#
        ));
        assert_eq!(Path::parse("p").unwrap().remove(&mut document).unwrap().get(), "2");
        assert_eq!(Path::parse("o.p").unwrap().remove(&mut document).unwrap().get(), "4");
        let expected = format!(r#"{{"n":123456789012345678901234567890.10,"e":1e999,"d":{deep},"o":{{}},"o":{{}}}}"#);
        assert_eq!(document.get(), expected);
        assert!(Path::parse("absent").unwrap().remove(&mut document).is_none());
    }
}
