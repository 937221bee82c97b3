//! `google.protobuf.*`, which proto3's JSON writes in forms of their own.

use std::time::Duration;

use prost_reflect::MessageDescriptor;
use serde_json::Value;

use super::{broken, scalar};

/// What a well-known message is in JSON.
pub(super) enum WellKnown {
    /// Text such as `1.5s`.
    Duration,
    /// RFC 3339.
    Timestamp,
    /// The value of the field `value`.
    Wrapper,
    /// Any JSON.
    Json,
    /// Any message, with its type.
    Any,
    /// Names of fields, in one text.
    FieldMask,
}

impl WellKnown {
    pub fn of(message: &MessageDescriptor) -> Option<Self> {
        Some(match message.full_name().strip_prefix("google.protobuf.")? {
            "Duration" => Self::Duration,
            "Timestamp" => Self::Timestamp,
            "Any" => Self::Any,
            "Struct" | "Value" | "ListValue" => Self::Json,
            "FieldMask" => Self::FieldMask,
            "BoolValue" | "StringValue" | "BytesValue" | "Int32Value" | "Int64Value" | "UInt32Value"
            | "UInt64Value" | "FloatValue" | "DoubleValue" => Self::Wrapper,
            _ => return None,
        })
    }
}

/// Canonical text of a duration in JSON.
pub(super) fn duration(value: &Value) -> Value {
    let Value::String(text) = value else {
        return broken(format!("expected a duration such as \"1.5s\", found {}", scalar::kind(value)));
    };
    match parse_duration(text) {
        Some((negative, duration)) => Value::String(print_duration(negative, duration)),
        None => broken(format!("{text:?} is no duration: write seconds, such as \"1.5s\"")),
    }
}

/// Whether it is negative, and how long it is.
pub(crate) fn parse_duration(text: &str) -> Option<(bool, Duration)> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 || (seconds.is_empty() && fraction.is_empty()) {
        return None;
    }
    let seconds = if seconds.is_empty() { 0 } else { seconds.parse::<u64>().ok()? };
    let nanos = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse::<u32>().ok()? };
    // protobuf's own bound: ten thousand years.
    (seconds <= 315_576_000_000).then(|| (negative, Duration::new(seconds, nanos)))
}

pub(crate) fn print_duration(negative: bool, duration: Duration) -> String {
    let sign = if negative { "-" } else { "" };
    let fraction = format!("{:09}", duration.subsec_nanos());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{dot}{fraction}s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds() {
        for (text, printed) in [("1s", "1s"), ("0.25s", "0.25s"), ("1.500s", "1.5s"), ("-2s", "-2s"), (".5s", "0.5s")] {
            let (negative, duration) = parse_duration(text).unwrap();
            assert_eq!(print_duration(negative, duration), printed, "{text}");
        }
        for text in ["", "s", "1", "1m", "1e3s", "+1s", "1.0000000001s", "99999999999999s", "1.s.", "1 s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
