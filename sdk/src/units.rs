//! Values with their unit, as configurations write them: `15s`, `250ms`, `50%`.
//!
//! ```
//! use std::time::Duration;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     #[serde(deserialize_with = "fyke_sdk::units::duration")]
//!     timeout: Duration,
//! }
//! ```

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Reads `250ms`, `15s`, `1m` or `1h`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds)) {
        Some(total) if milliseconds > 0 => Ok(Duration::from_millis(total)),
        _ => Err(format!("expected a whole number and a unit, like 250ms, 15s, 1m or 1h, not \"{text}\"")),
    }
}

struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

/// For `#[serde(deserialize_with)]` on a [`Duration`].
///
/// # Errors
/// When [`parse_duration`] refuses it.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Text("a duration like 250ms, 15s, 1m or 1h", parse_duration))
}

/// For `#[serde(default, deserialize_with)]` on an `Option<Duration>`.
///
/// # Errors
/// When [`parse_duration`] refuses it.
pub fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// Reads `512B`, `64KiB`, `1MiB`, `2GiB`, or decimal `64KB`, `1MB`, `2GB`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes)) {
        Some(total) if bytes > 0 => Ok(total),
        _ => Err(format!("expected a whole number and a unit, like 512B, 64KiB or 1MiB, not \"{text}\"")),
    }
}

/// For `#[serde(default, deserialize_with)]` on an `Option<u64>` that counts bytes.
///
/// # Errors
/// When [`parse_size`] refuses it.
pub fn optional_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_str(Text("a size like 64KiB", parse_size)).map(Some)
}

/// A part of a whole: `50%`, `0.5%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// Between 0 and 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a percentage like 50%", parse_percent))
    }
}

fn parse_percent(text: &str) -> Result<Percent, String> {
    match text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok()) {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(Percent(number / 100.0)),
        _ => Err(format!("expected a percentage from 0% to 100%, not \"{text}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["", "5", "s", "-1s", "1.5s", "1d", "1 s", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1MB"), Ok(1_000_000));
        for bad in
            ["", "5", "KiB", "-1B", "1.5KiB", "1 KiB", "1kib", "99999999999999999999GiB", "18446744073709551615KiB"]
        {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_stay_within_the_whole() {
        assert_eq!(parse_percent("50%"), Ok(Percent(0.5)));
        for bad in ["50", "101%", "-1%", "%", "NaN%"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }
}
