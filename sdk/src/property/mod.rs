//! Properties: what the host knows about a stream, by path. `["source", "address"]`, `["route_name"]`, `["request", "headers", "x"]`.
//!
//! Values are bytes. Text is raw; integers, durations and timestamps are eight bytes, little-endian, the latter two in
//! nanoseconds; a boolean is one byte. Some hosts answer everything as text: the typed readers take that too.

mod flags;
mod moment;
mod reads;
mod typed;

use std::time::{Duration, SystemTime};

use crate::abi;
use crate::error::Result;

pub use flags::write_response_flags;
pub use reads::{Reads, Values};
pub use typed::{Typed, Value};

/// A path in the form that the host wants, for those read on every stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    bytes: Vec<u8>,
}

impl Path {
    /// Joins the segments.
    #[must_use]
    pub fn new(segments: &[&str]) -> Self {
        Self { bytes: segments.join("\0").into_bytes() }
    }

    /// The segments, joined by zero bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value, raw.
    #[must_use]
    pub fn read(&self) -> Option<Vec<u8>> {
        abi::property(&self.bytes)
    }
}

/// The value at a path, raw.
#[must_use]
pub fn read(path: &[&str]) -> Option<Vec<u8>> {
    Path::new(path).read()
}

/// Sets a property that filters behind this one can read.
///
/// # Errors
/// When the host refuses it.
pub fn set(path: &[&str], value: impl AsRef<[u8]>) -> Result<()> {
    Ok(abi::set_property(Path::new(path).as_bytes(), value.as_ref())?)
}

/// The value at a path as text; `None` also when it is not UTF-8.
#[must_use]
pub fn text(path: &[&str]) -> Option<String> {
    String::from_utf8(read(path)?).ok()
}

/// The value at a path as an integer.
#[must_use]
pub fn integer(path: &[&str]) -> Option<i64> {
    decode_integer(&read(path)?)
}

/// The value at a path as a duration.
#[must_use]
pub fn duration(path: &[&str]) -> Option<Duration> {
    decode_duration(&read(path)?)
}

/// The value at a path as a moment.
#[must_use]
pub fn time(path: &[&str]) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(duration(path)?)
}

/// Reads an integer: eight bytes, or decimal text.
#[must_use]
pub fn decode_integer(bytes: &[u8]) -> Option<i64> {
    match <[u8; 8]>::try_from(bytes) {
        Ok(eight) => Some(i64::from_le_bytes(eight)),
        Err(_) => std::str::from_utf8(bytes).ok()?.parse().ok(),
    }
}

/// Reads a duration: nanoseconds, as an integer. A negative one reads as none.
#[must_use]
pub fn decode_duration(bytes: &[u8]) -> Option<Duration> {
    u64::try_from(decode_integer(bytes)?).ok().map(Duration::from_nanos)
}

/// An address, as the properties `source.address` and its like have it, without its port: `10.0.0.1:80` is `10.0.0.1`, `[::1]:80` is `::1`. What has no port stays.
#[must_use]
pub fn without_port(address: &[u8]) -> &[u8] {
    if let [b'[', rest @ ..] = address {
        return rest.split(|byte| *byte == b']').next().unwrap_or(rest);
    }
    let mut colons = address.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    match (colons.next(), colons.next()) {
        (Some(only), None) => address.get(..only).unwrap_or(address),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_dropped() {
        for (address, bare) in
            [("10.0.0.1:80", "10.0.0.1"), ("[::1]:80", "::1"), ("::1", "::1"), ("10.0.0.1", "10.0.0.1"), ("", "")]
        {
            assert_eq!(without_port(address.as_bytes()), bare.as_bytes());
        }
    }
}
