//! Values that carry their unit: `5s`, `64KiB`, `20%`.

use std::{borrow::Cow, fmt, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Keyword of the schema that names the unit of a string; see [`parse_as`].
pub(crate) const KEYWORD: &str = "x-fyke-unit";

/// A span of time: `250ms`, `5s`, `1m30s`. Units: ns, us, ms, s, m, h, d.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub time::Duration);

/// A number of bytes: `512B`, `64KiB`, `1MiB`, `2GiB`, or decimal `64KB`, `1MB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A share of a whole: `20%`, `0.5%`, between 0 and 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

/// By how much more than something else: `+20%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Increase(pub f64);

/// What is wrong with a value, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnitError {
    pub message: String,
    pub help: String,
}

/// What a schema's unit is called in messages.
pub(crate) fn described(unit: &str) -> &'static str {
    match unit {
        "duration" => "a duration such as \"5s\"",
        "bytes" => "a size such as \"64KiB\"",
        "percent" => "a percentage such as \"20%\"",
        "increase" => "an increase such as \"+20%\"",
        _ => "a string",
    }
}

/// How a bare number would be written, for the help of a mistake.
pub(crate) fn with_unit(unit: &str, number: &str) -> String {
    match unit {
        "duration" => format!("write \"{number}s\" for seconds, \"{number}ms\" for milliseconds"),
        "bytes" => format!("write \"{number}B\" for bytes, \"{number}KiB\" or \"{number}MiB\""),
        "increase" => format!("write \"+{number}%\""),
        _ => format!("write \"{number}%\""),
    }
}

/// Checks a text against the unit that a schema names.
pub(crate) fn parse_as(unit: &str, text: &str) -> Result<(), UnitError> {
    match unit {
        "duration" => parse_duration(text).map(drop),
        "bytes" => parse_bytes(text).map(drop),
        "percent" => parse_percent(text).map(drop),
        "increase" => parse_increase(text).map(drop),
        _ => Ok(()),
    }
}

/// Longer durations are mistakes, and could not be added to a clock.
const LONGEST: time::Duration = time::Duration::from_secs(365 * 24 * 3600);

const DURATIONS: &[(&str, f64)] =
    &[("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];

const SIZES: &[(&str, f64)] = &[
    ("B", 1.0),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
];

fn parse_duration(text: &str) -> Result<time::Duration, UnitError> {
    let (mut rest, mut seconds) = (text, 0.0);
    loop {
        let (number, after) = quantity("duration", text, rest)?;
        let length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(length);
        seconds += number * factor("duration", text, rest, unit, DURATIONS)?;
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    let duration = time::Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= LONGEST);
    // Floats are exact to the nanosecond for the first 100 days; round what they are not.
    duration
        .map(|duration| if seconds < 8e6 { duration } else { time::Duration::from_secs(duration.as_secs()) })
        .ok_or_else(|| UnitError { message: format!("duration {text:?} is too long"), help: "at most 365d".to_owned() })
}

fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = quantity("bytes", text, text)?;
    let bytes = number * factor("bytes", text, text, unit.trim_start(), SIZES)?;
    // 2^53: beyond it a float skips numbers, and no size is that large.
    if bytes > 9_007_199_254_740_992.0 {
        return Err(UnitError {
            message: format!("size {text:?} is too large"),
            help: "at most 8388608GiB".to_owned(),
        });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, below 2^53")]
    Ok(bytes as u64)
}

fn parse_percent(text: &str) -> Result<f64, UnitError> {
    let (number, unit) = quantity("percent", text, text)?;
    if unit.trim_start() != "%" {
        return Err(invalid("percent", text, text, unit));
    }
    if number > 100.0 {
        return Err(UnitError {
            message: format!("{text:?} is more than everything"),
            help: "at most 100%".to_owned(),
        });
    }
    Ok(number)
}

fn parse_increase(text: &str) -> Result<f64, UnitError> {
    let Some(percentage) = text.strip_prefix('+') else {
        return Err(UnitError {
            message: format!("{text:?} is not {}", described("increase")),
            help: units("increase"),
        });
    };
    let (number, unit) = quantity("increase", text, percentage)?;
    if unit.trim_start() != "%" {
        return Err(invalid("increase", text, percentage, unit));
    }
    Ok(number)
}

/// The number that a text begins with, and what follows it.
fn quantity<'a>(kind: &str, whole: &str, text: &'a str) -> Result<(f64, &'a str), UnitError> {
    let length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(length);
    match number.parse::<f64>() {
        Ok(value) if number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.') => Ok((value, rest)),
        _ => Err(UnitError { message: format!("{whole:?} is not {}", described(kind)), help: units(kind) }),
    }
}

fn factor(kind: &str, whole: &str, quantity: &str, unit: &str, known: &[(&str, f64)]) -> Result<f64, UnitError> {
    known
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
        .ok_or_else(|| invalid(kind, whole, quantity, unit))
}

fn invalid(kind: &str, whole: &str, quantity: &str, unit: &str) -> UnitError {
    if unit.is_empty() {
        let number = quantity.trim_end();
        return UnitError { message: format!("{whole:?} has no unit"), help: with_unit(kind, number) };
    }
    UnitError { message: format!("unknown unit {:?} in {whole:?}", unit.trim()), help: units(kind) }
}

fn units(kind: &str) -> String {
    match kind {
        "duration" => "expected a number with a unit: ns, us, ms, s, m, h or d".to_owned(),
        "bytes" => "expected a number with a unit: B, KiB, MiB, GiB, KB, MB or GB".to_owned(),
        "increase" => "expected a + and a number with a %, such as +20%".to_owned(),
        _ => "expected a number between 0 and 100 with a %".to_owned(),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units: [(u128, &str); 7] = [
            (86_400_000_000_000, "d"),
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        match units.iter().find(|(size, _)| nanos > 0 && nanos.is_multiple_of(*size)) {
            Some((size, unit)) => write!(formatter, "{}{unit}", nanos / size),
            None => formatter.write_str("0s"),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.iter().find(|(size, _)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => write!(formatter, "{}{unit}", self.0 / size),
            None => write!(formatter, "{}B", self.0),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}%", self.0)
    }
}

impl fmt::Display for Increase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "+{}%", self.0)
    }
}

macro_rules! unit {
    ($type:ident, $unit:literal, $parse:ident, $pattern:literal, $description:literal, $example:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                $parse(&text).map(Self).map_err(|error| D::Error::custom(error.message))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": $description,
                    "examples": [$example],
                    "x-fyke-unit": $unit,
                })
            }
        }
    };
}

unit!(
    Duration,
    "duration",
    parse_duration,
    r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+$",
    "A span of time with its unit: ns, us, ms, s, m, h or d. At most 365d.",
    "5s"
);
unit!(
    ByteSize,
    "bytes",
    parse_bytes,
    r"^[0-9]+(\.[0-9]+)? ?(B|KiB|MiB|GiB|KB|MB|GB)$",
    "A number of bytes with its unit: B, KiB, MiB, GiB, KB, MB or GB.",
    "64KiB"
);
unit!(Percent, "percent", parse_percent, r"^[0-9]+(\.[0-9]+)? ?%$", "A share between 0% and 100%.", "20%");
unit!(Increase, "increase", parse_increase, r"^\+[0-9]+(\.[0-9]+)? ?%$", "By how much more than before.", "+20%");

#[cfg(test)]
mod tests {
    use std::time::Duration as D;

    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expected) in [
            ("5s", D::from_secs(5)),
            ("250ms", D::from_millis(250)),
            ("1m30s", D::from_secs(90)),
            ("1.5h", D::from_secs(5400)),
            ("7us", D::from_micros(7)),
            ("9ns", D::from_nanos(9)),
            ("2d", D::from_secs(172_800)),
            ("365d", LONGEST),
            ("0s", D::ZERO),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        assert_eq!(Duration(D::from_secs(300)).to_string(), "5m");
        assert_eq!(Duration(D::from_millis(1500)).to_string(), "1500ms");
        assert_eq!(Duration(D::ZERO).to_string(), "0s");
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in
            [("512B", 512), ("64KiB", 65_536), ("1.5KB", 1500), ("2GiB", 2 << 30), ("1 MB", 1_000_000)]
        {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
        assert_eq!(ByteSize(61_440).to_string(), "60KiB");
        assert_eq!(ByteSize(1000).to_string(), "1000B");
    }

    #[test]
    fn percentages_end_at_100() {
        assert_eq!(parse_percent("20%"), Ok(20.0));
        assert_eq!(parse_percent("0.5%"), Ok(0.5));
        assert!(parse_percent("101%").is_err());
    }

    #[test]
    fn increases_have_a_sign() {
        assert_eq!(parse_increase("+20%"), Ok(20.0));
        assert_eq!(parse_increase("+150.5 %"), Ok(150.5));
        assert_eq!(parse_increase("+20").unwrap_err().help, "write \"+20%\"");
        for text in ["20%", "-20%", "+%", "+20s", ""] {
            assert!(parse_increase(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let error = parse_duration("5").unwrap_err();
        assert_eq!((error.message.as_str(), &error.help[..10]), ("\"5\" has no unit", "write \"5s\""));
        assert_eq!(parse_duration("5sec").unwrap_err().message, "unknown unit \"sec\" in \"5sec\"");
        assert_eq!(parse_bytes("1mb").unwrap_err().message, "unknown unit \"mb\" in \"1mb\"");
        assert_eq!(parse_duration("400d").unwrap_err().help, "at most 365d");
        for text in ["", "s", "-5s", ".5s", "5.s", "5s ", "1e3s", "1..2s", "NaNs", "infs"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
