//! Label values as the text that the formats without types need.

use std::borrow::Cow;

use super::reading::{Attributes, Value};

/// The value as text. Lists and maps are no labels: they are empty.
pub(crate) fn words(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Shared(text) => Cow::Borrowed(text),
        Value::Raw(bytes) => String::from_utf8_lossy(bytes),
        Value::Integer(number) => Cow::Owned(number.to_string()),
        Value::Float(number) => Cow::Owned(number.to_string()),
        Value::Boolean(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        Value::List(_) | Value::Map(_) => Cow::Borrowed(""),
    }
}

/// Names and texts in the order in which they were given: of a name that occurs twice the last, none whose name is empty.
pub(crate) fn unique(labels: &Attributes) -> Vec<(&str, Cow<'_, str>)> {
    let mut kept: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(labels.len());
    for (name, value) in labels.iter().filter(|(name, _)| !name.is_empty()) {
        match kept.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = words(value),
            None => kept.push((name, words(value))),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_scalar_is_text_and_what_is_not_utf8_is_replaced() {
        let values = [
            (Value::from("a"), "a"),
            (Value::Shared("b".into()), "b"),
            (Value::Raw(Bytes::from_static(b"c\xff")), "c\u{fffd}"),
            (Value::Integer(-1), "-1"),
            (Value::Float(1.5), "1.5"),
            (Value::Boolean(true), "true"),
            (Value::List(vec![Value::Integer(1)]), ""),
        ];
        for (value, text) in values {
            assert_eq!(words(&value), text);
        }
    }

    #[test]
    fn a_name_occurs_once_with_its_last_value() {
        let labels: Attributes = vec![("b".into(), "1".into()), ("".into(), "x".into()), ("b".into(), "2".into())];
        assert_eq!(unique(&labels), [("b", Cow::Borrowed("2"))]);
    }
}
