//! Values of one field, from JSON.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use prost_reflect::EnumDescriptor;
use serde_json::{Number, Value};

use super::broken;

/// What a value is called in messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(super) fn boolean(value: Value) -> Value {
    match value {
        Value::Bool(_) => value,
        other => broken(format!("expected true or false, found {}", kind(&other))),
    }
}

pub(super) fn text(value: Value) -> Value {
    match value {
        Value::String(_) => value,
        Value::Number(number) => broken(format!("expected text, found a number: write \"{number}\"")),
        other => broken(format!("expected text, found {}", kind(&other))),
    }
}

pub(super) fn bytes(value: Value) -> Value {
    let Value::String(text) = value else {
        return broken(format!("expected bytes in base64, found {}", kind(&value)));
    };
    let encodings = [&BASE64, &BASE64_NOPAD, &BASE64URL, &BASE64URL_NOPAD];
    match encodings.iter().find_map(|encoding| encoding.decode(text.as_bytes()).ok()) {
        Some(bytes) => Value::String(BASE64.encode(&bytes)),
        None => broken("expected bytes in base64"),
    }
}

/// An integer, also as text, which is how proto3 writes 64 bits.
pub(super) fn integer(value: &Value, least: i128, most: i128) -> Value {
    let parsed = match value {
        Value::Number(number) => whole(number),
        Value::String(text) => text.parse().ok(),
        other => return broken(format!("expected an integer, found {}", kind(other))),
    };
    match parsed {
        None => broken("expected an integer"),
        Some(number) if (least..=most).contains(&number) => u64::try_from(number)
            .map(Value::from)
            .or_else(|_| i64::try_from(number).map(Value::from))
            .unwrap_or_default(),
        Some(number) => broken(format!("{number} is not from {least} to {most}")),
    }
}

fn whole(number: &Number) -> Option<i128> {
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    // `1e3` and `1.0` are integers to proto3.
    let float = number.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
    let whole = float as i128;
    (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(whole)
}

pub(super) fn float(value: Value) -> Value {
    match value {
        Value::Number(_) => value,
        Value::String(text) => match text.parse::<f64>().ok().and_then(Number::from_f64) {
            Some(number) => Value::Number(number),
            None => broken(format!("expected a number, found {text:?}")),
        },
        other => broken(format!("expected a number, found {}", kind(&other))),
    }
}

/// The name of an enumerator.
pub(super) fn enumerator(descriptor: &EnumDescriptor, value: &Value) -> Value {
    let found = match value {
        // Envoy's reader takes `static` for `STATIC`, and its own examples write it so.
        Value::String(name) => descriptor
            .get_value_by_name(name)
            .or_else(|| descriptor.values().find(|value| value.name().eq_ignore_ascii_case(name))),
        Value::Number(number) => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .and_then(|number| descriptor.get_value(number)),
        other => return broken(format!("expected a name, found {}", kind(other))),
    };
    match found {
        Some(found) => Value::String(found.name().to_owned()),
        None => {
            let names: Vec<_> = descriptor.values().map(|value| value.name().to_owned()).collect();
            broken(format!("{value} is none of {}", names.join(", ")))
        }
    }
}
