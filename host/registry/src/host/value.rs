//! Fields of requests and answers, as forms and as JSON.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::error::{Problem, shown};

/// Fields by name. In a form every value is a string, and objects are JSON within it, as lyft/discovery takes them.
pub(crate) type Fields = Map<String, Value>;

/// Reads a form.
///
/// # Errors
/// A field that stands there twice: which one counts would be a guess.
pub(crate) fn form(body: &[u8]) -> Result<Fields, Problem> {
    let mut fields = Fields::new();
    for (name, value) in form_urlencoded::parse(body) {
        if fields.insert(name.to_string(), Value::String(value.into_owned())).is_some() {
            return Err(Problem::new(shown(name), "stands there twice"));
        }
    }
    Ok(fields)
}

/// A whole number of a range, as JSON or as digits.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn number(value: &Value, least: u64, most: u64) -> Result<u64, String> {
    let read = match value {
        Value::Number(number) => number.as_u64(),
        // No sign, no white space: `u64::from_str` takes a plus.
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    read.filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("must be {least} to {most}, not {}", shown(value)))
}

/// A port.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn port(value: &Value) -> Result<u16, String> {
    number(value, 1, 65535).map(|port| u16::try_from(port).unwrap_or(u16::MAX))
}

/// A line of text of at most so many characters.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn text(value: &Value, most: usize) -> Result<&str, String> {
    let Value::String(text) = value else {
        return Err(format!("must be a string, not {}", shown(value)));
    };
    line(text, most)?;
    Ok(text)
}

pub(super) fn line(text: &str, most: usize) -> Result<(), String> {
    if text.chars().nth(most).is_some() {
        return Err(format!("must have at most {most} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must have no control characters".to_owned());
    }
    Ok(())
}

/// An object, or JSON of one in a string, where a form carries it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn object(value: &Value) -> Result<std::borrow::Cow<'_, Fields>, String> {
    let not = |what: &dyn Display| format!("must be a JSON object, not {}", shown(what));
    match value {
        Value::Object(fields) => Ok(std::borrow::Cow::Borrowed(fields)),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(fields)) => Ok(std::borrow::Cow::Owned(fields)),
            Ok(_) => Err(not(text)),
            Err(error) => Err(format!("is not JSON: {error}")),
        },
        _ => Err(not(value)),
    }
}

/// A field, unless it is absent or null.
///
/// # Errors
/// What `read` says, under the field's name.
pub(crate) fn typed<'a, T>(
    fields: &'a Fields,
    name: &str,
    read: impl FnOnce(&'a Value) -> Result<T, String>,
) -> Result<Option<T>, Problem> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).map_err(|message| Problem::new(name, message)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_numbers_or_digits() {
        for (value, read) in [(json!(1), 1), (json!(65535), 65535), (json!("8080"), 8080)] {
            assert_eq!(port(&value), Ok(read));
        }
        for value in [
            json!(0),
            json!(65536),
            json!(-1),
            json!(80.5),
            json!("+80"),
            json!(" 80"),
            json!(""),
            json!([80]),
            json!(true),
        ] {
            assert!(port(&value).unwrap_err().starts_with("must be 1 to 65535, not "), "{value}");
        }
        assert_eq!(port(&json!(70000)).unwrap_err(), "must be 1 to 65535, not 70000");
    }

    #[test]
    fn a_field_twice_is_no_form() {
        assert_eq!(form(b"a=1&a=2").unwrap_err().field, "a");
        assert_eq!(form(b"a=1&b=%20+x").unwrap().get("b"), Some(&json!("  x")));
    }

    #[test]
    fn text_is_one_line() {
        assert!(text(&json!("ä".repeat(3)), 3).is_ok());
        assert!(text(&json!("abcd"), 3).is_err());
        assert!(text(&json!("a\nb"), 9).is_err());
        assert!(text(&json!(7), 9).is_err());
    }
}
