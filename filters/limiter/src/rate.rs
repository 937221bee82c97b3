//! Rates, quotas and spans of time, as configurations write them: `100/s`, `5000/10m`, `1M/d`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// The longest time that a limit may speak of: 366 days.
const LONGEST: u64 = 366 * 86_400 * SECOND;

/// The most that may be allowed at once, or in any span.
const MOST: u64 = 1_000_000_000_000_000;

/// A number of things, above zero: `100`, `"10k"`, `"1M"`, `"2G"` (in thousands).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(u64);

/// A span of time, above zero and at most 366 days: `s`, `10s`, `250ms`, `m`, `5m`, `h`, `d`, or the words `second`, `minute`, `hour`, `day`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

/// So many in every span of time, evenly: `100/s`, `5000/10m`, or `{ requests: 100, per: 1s }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub amount: Amount,
    /// In how long.
    pub per: Span,
}

/// So many in every minute, hour or day of the calendar, in UTC: `1M/d`, or `{ requests: 1000, per: day }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub amount: Amount,
    /// One minute, one hour or one day.
    pub per: Span,
}

impl Amount {
    /// A number from 1 to 10^15.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 || number > MOST { None } else { Some(Self(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Reads one, as it is written.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(format!("must be above zero, not \"{text}\""));
        }
        let suffixes = [('k', 1_000), ('M', 1_000_000), ('G', 1_000_000_000)];
        let (number, factor) = suffixes
            .into_iter()
            .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))
            .unwrap_or((text, 1));
        let whole = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let value = if whole { number.parse::<u64>().ok() } else { None };
        match value.and_then(|value| value.checked_mul(factor)) {
            Some(0) => Err("must be above zero: to refuse everything, use a deny list".to_owned()),
            Some(value) => Self::new(value).ok_or_else(|| format!("must be at most 10^15, not {text}")),
            None => Err(format!("expected a whole number, like 100, 10k or 1M, not \"{text}\"")),
        }
    }
}

impl Span {
    /// One minute.
    pub const MINUTE: Self = Self(60 * SECOND);
    /// One hour.
    pub const HOUR: Self = Self(3_600 * SECOND);
    /// One day.
    pub const DAY: Self = Self(86_400 * SECOND);

    /// Of nanoseconds, from 1 to those of 366 days.
    #[must_use]
    pub const fn new(nanoseconds: u64) -> Option<Self> {
        if nanoseconds == 0 || nanoseconds > LONGEST { None } else { Some(Self(nanoseconds)) }
    }

    /// In nanoseconds.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }

    /// In seconds, at least one.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        let seconds = self.0 / SECOND;
        if seconds == 0 { 1 } else { seconds }
    }

    /// Reads one, as it is written.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = match unit {
            "ms" => SECOND / 1_000,
            "s" | "second" | "seconds" => SECOND,
            "m" | "min" | "minute" | "minutes" => Self::MINUTE.0,
            "h" | "hour" | "hours" => Self::HOUR.0,
            "d" | "day" | "days" => Self::DAY.0,
            _ => 0,
        };
        let number = if number.is_empty() { Some(1) } else { number.parse::<u64>().ok() };
        match number.and_then(|number| number.checked_mul(unit)) {
            Some(total) if unit > 0 => {
                Self::new(total).ok_or_else(|| format!("must be above zero and at most 366 days, not \"{text}\""))
            }
            _ => Err(format!("expected a span of time, like s, 10s, m, h or d, not \"{text}\"")),
        }
    }
}

impl Rate {
    /// Reads `100/s`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (amount, per) = text
            .split_once('/')
            .ok_or_else(|| format!("expected a rate, like 100/s, 5000/m or 1M/d, not \"{text}\""))?;
        Ok(Self { amount: Amount::parse(amount)?, per: Span::parse(per)? })
    }

    /// Whether it lets fewer through in the long run.
    #[must_use]
    pub fn is_slower_than(self, other: Self) -> bool {
        let product = |rate: Self, by: Self| u128::from(rate.amount.0) * u128::from(by.per.0);
        product(self, other) < product(other, self)
    }
}

impl Quota {
    /// Reads `1M/d`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::of(Rate::parse(text)?)
    }

    fn of(rate: Rate) -> Result<Self, String> {
        if [Span::MINUTE, Span::HOUR, Span::DAY].contains(&rate.per) {
            return Ok(Self { amount: rate.amount, per: rate.per });
        }
        Err("a quota is of a minute, an hour or a day of the calendar, like 1M/d; of any other span there is a rate"
            .to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(Self::DAY.0, "d"), (Self::HOUR.0, "h"), (Self::MINUTE.0, "m"), (SECOND, "s")] {
            if self.0.is_multiple_of(unit) {
                return match self.0 / unit {
                    1 => f.write_str(name),
                    count => write!(f, "{count}{name}"),
                };
            }
        }
        write!(f, "{}ms", self.0 / 1_000_000)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.amount.0, self.per)
    }
}

/// A number, or text with a suffix.
struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number above zero, like 100 or 10k")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Amount, E> {
        Amount::parse(&number.to_string()).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
        Amount::parse(&number.to_string()).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Amount, E> {
        Amount::parse(&number.to_string()).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
        Amount::parse(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time, like s, 10s, m, h or d")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        Span::parse(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SpanVisitor)
    }
}

/// Text, or an object with `requests` and `per`. Not an untagged enum, whose errors say nothing.
struct RateVisitor;

impl<'de> Visitor<'de> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate, like 100/s, or { requests: 100, per: s }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
        Rate::parse(text).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rate, A::Error> {
        let (mut amount, mut per) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "requests" if amount.is_none() => amount = Some(map.next_value()?),
                "per" if per.is_none() => per = Some(map.next_value()?),
                _ => return Err(A::Error::unknown_field(&key, &["requests", "per"])),
            }
        }
        Ok(Rate {
            amount: amount.ok_or_else(|| A::Error::missing_field("requests"))?,
            per: per.ok_or_else(|| A::Error::missing_field("per"))?,
        })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(Rate::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
