//! Attribute values, and how they become legal OTLP.
//!
//! Values come from traffic and from filters, so nothing about them is believed: text is cut to [`TEXT_BYTES`] at a
//! character's border, bytes that are not UTF-8 are replaced (protobuf's `string` must be UTF-8, and a collector
//! refuses the whole message otherwise), lists and maps are bounded in length and depth. Text that fits is moved, not
//! copied.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};

/// Longest text or key of an attribute, in bytes. OpenTelemetry has no limit by default
/// (`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`); a proxy that records what strangers send needs one.
pub const TEXT_BYTES: usize = 4096;
/// Most attributes of one record, as `OTEL_ATTRIBUTE_COUNT_LIMIT`. The rest is counted in `dropped_attributes_count`.
pub const ATTRIBUTES: usize = 128;
/// How deep lists and maps may nest. What lies deeper is sent as an empty value.
const DEPTH: usize = 4;

/// Names and values. A name that occurs twice has its last value; an empty name is left out.
pub type Attributes = Vec<(Cow<'static, str>, Value)>;

/// Nanoseconds since 1970-01-01T00:00:00Z. Zero means unknown, as in OTLP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

impl From<SystemTime> for UnixTime {
    /// Times before 1970 are unknown; times after 2554 are the last that can be said.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// What an attribute, a label or the body of a log record says (`AnyValue` in OTLP).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// Text that many records share.
    Shared(Arc<str>),
    /// Text as it came from the wire; what is not UTF-8 in it becomes U+FFFD.
    Raw(Bytes),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// Several values.
    List(Vec<Value>),
    /// Values by name.
    Map(Attributes),
}

impl Value {
    /// Roughly what it occupies beside itself, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Shared(text) => text.len(),
            Self::Raw(bytes) => bytes.len(),
            Self::Integer(_) | Self::Float(_) | Self::Boolean(_) => 0,
            Self::List(values) => values.iter().map(|value| size_of::<Self>().saturating_add(value.weight())).sum(),
            Self::Map(attributes) => weight(attributes),
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Raw(bytes)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u64> for Value {
    /// OTLP has no unsigned numbers: what is too large becomes the largest.
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

/// Roughly what attributes occupy, in bytes.
pub(crate) fn weight(attributes: &Attributes) -> usize {
    let entry = size_of::<(Cow<'static, str>, Value)>();
    attributes.iter().map(|(key, value)| entry.saturating_add(key.len()).saturating_add(value.weight())).sum()
}

/// Attributes as OTLP has them, and how many did not fit.
pub(crate) fn key_values(attributes: Attributes) -> (Vec<KeyValue>, u32) {
    nested(attributes, DEPTH)
}

/// A value as OTLP has it.
pub(crate) fn any_value(value: Value) -> AnyValue {
    wire(value, DEPTH)
}

/// Text of at most [`TEXT_BYTES`].
pub(crate) fn text(text: Cow<'static, str>) -> String {
    cut(text, TEXT_BYTES)
}

/// Text of at most `limit` bytes, cut at a character's border.
pub(crate) fn cut(text: Cow<'_, str>, limit: usize) -> String {
    if text.len() <= limit {
        return text.into_owned();
    }
    let border = text.floor_char_boundary(limit);
    match text {
        Cow::Owned(mut text) => {
            text.truncate(border);
            // The rest would stay allocated as long as the batch does.
            text.shrink_to_fit();
            text
        }
        Cow::Borrowed(text) => text.get(..border).unwrap_or_default().to_owned(),
    }
}

fn nested(attributes: Attributes, depth: usize) -> (Vec<KeyValue>, u32) {
    let mut kept: Vec<KeyValue> = Vec::with_capacity(attributes.len().min(ATTRIBUTES));
    let mut dropped = 0_u32;
    for (key, value) in attributes {
        let key = text(key);
        if key.is_empty() {
            dropped = dropped.saturating_add(1);
        } else if let Some(known) = kept.iter_mut().find(|known| known.key == key) {
            known.value = Some(wire(value, depth));
        } else if kept.len() < ATTRIBUTES {
            kept.push(KeyValue { key, value: Some(wire(value, depth)), ..KeyValue::default() });
        } else {
            dropped = dropped.saturating_add(1);
        }
    }
    (kept, dropped)
}

fn wire(value: Value, depth: usize) -> AnyValue {
    use any_value::Value as Wire;
    let value = match value {
        Value::Text(words) => Wire::StringValue(text(words)),
        Value::Shared(words) => Wire::StringValue(cut(Cow::Borrowed(&words), TEXT_BYTES)),
        Value::Raw(bytes) => Wire::StringValue(legal(&bytes)),
        Value::Integer(number) => Wire::IntValue(number),
        Value::Float(number) => Wire::DoubleValue(number),
        Value::Boolean(truth) => Wire::BoolValue(truth),
        Value::List(_) | Value::Map(_) if depth == 0 => return AnyValue { value: None },
        Value::List(values) => {
            let values = values.into_iter().take(ATTRIBUTES).map(|value| wire(value, depth.saturating_sub(1)));
            Wire::ArrayValue(ArrayValue { values: values.collect() })
        }
        Value::Map(attributes) => {
            Wire::KvlistValue(KeyValueList { values: nested(attributes, depth.saturating_sub(1)).0 })
        }
    };
    AnyValue { value: Some(value) }
}

/// Bytes as text of at most [`TEXT_BYTES`]; no more of them is read than that needs.
fn legal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().min(TEXT_BYTES));
    for chunk in bytes.utf8_chunks() {
        let room = TEXT_BYTES.saturating_sub(text.len());
        let valid = chunk.valid();
        text.push_str(valid.get(..valid.floor_char_boundary(room)).unwrap_or_default());
        if valid.len() > room {
            break;
        }
        if !chunk.invalid().is_empty() {
            if TEXT_BYTES.saturating_sub(text.len()) < char::REPLACEMENT_CHARACTER.len_utf8() {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(value: AnyValue) -> String {
        match value.value {
            Some(any_value::Value::StringValue(text)) => text,
            other => panic!("not text: {other:?}"),
        }
    }

    #[test]
    fn text_is_cut_at_a_characters_border() {
        let long = "é".repeat(3000);
        let cut = words(any_value(Value::from(format!("x{long}"))));
        assert_eq!(cut.len(), TEXT_BYTES - 1);
        assert!(cut.ends_with('é'));
        assert_eq!(words(any_value(Value::from("as it is"))), "as it is");
        assert_eq!(words(any_value(Value::from(Arc::<str>::from("shared")))), "shared");
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(words(any_value(Value::Raw(Bytes::from_static(b"a\xffb\xf0\x9f")))), "a\u{fffd}b\u{fffd}");
        assert_eq!(words(any_value(Value::Raw(Bytes::from(vec![0xff; 10_000])))).len(), TEXT_BYTES - 1);
    }

    #[test]
    fn attributes_are_bounded_and_their_names_unique() {
        let many = (0..200).map(|number| (Cow::from(format!("k{number}")), Value::Integer(number)));
        let (kept, dropped) = key_values(many.collect());
        assert_eq!((kept.len(), dropped), (ATTRIBUTES, 72));
        let twice: Attributes = vec![("a".into(), 1_i64.into()), ("".into(), 0_i64.into()), ("a".into(), 2_i64.into())];
        let (kept, dropped) = key_values(twice);
        assert_eq!((kept.len(), dropped), (1, 1));
        assert_eq!(kept[0].value, Some(any_value(Value::Integer(2))));
    }

    #[test]
    fn nesting_ends_at_the_limit_of_depth() {
        let mut value = Value::Integer(1);
        for _ in 0..100 {
            value = Value::List(vec![value]);
        }
        let mut depth = 0;
        let mut wire = any_value(value);
        while let Some(any_value::Value::ArrayValue(mut list)) = wire.value {
            depth += 1;
            wire = list.values.remove(0);
        }
        assert_eq!((depth, wire.value), (DEPTH, None));
    }

    #[test]
    fn numbers_and_times_beyond_the_range_stay_at_its_end() {
        assert_eq!(Value::from(u64::MAX), Value::Integer(i64::MAX));
        assert_eq!(UnixTime::from(UNIX_EPOCH - std::time::Duration::from_secs(1)), UnixTime(0));
    }

    proptest! {
        #[test]
        fn any_bytes_become_bounded_text_that_keeps_what_was_legal(
            bytes in proptest::collection::vec(any::<u8>(), 0..9000),
        ) {
            let text = legal(&bytes);
            prop_assert!(text.len() <= TEXT_BYTES);
            prop_assert!(String::from_utf8_lossy(&bytes).starts_with(&text));
        }
    }
}
