//! Numbers as StatsD servers read them: decimals without exponents.

use std::fmt;

use crate::telemetry::reading::Number;

/// A number as it is. Zero has no sign.
pub(super) struct Plain(pub(super) Number);

impl fmt::Display for Plain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Number::Integer(number) => number.fmt(formatter),
            // `Display` of floats never writes an exponent. Minus zero plus zero is zero.
            Number::Float(number) => (number + 0.0).fmt(formatter),
        }
    }
}

/// A difference, to nine decimals: what the difference of two floats has behind these is noise.
pub(super) struct Rounded(pub(super) Number);

impl Rounded {
    /// Whether there is nothing to say.
    pub(super) fn is_zero(&self) -> bool {
        match self.0 {
            Number::Integer(number) => number == 0,
            Number::Float(number) => number.abs() < 0.5e-9,
        }
    }
}

impl fmt::Display for Rounded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Number::Integer(number) => number.fmt(formatter),
            Number::Float(_) if self.is_zero() => formatter.write_str("0"),
            Number::Float(number) => {
                let text = format!("{number:.9}");
                formatter.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

/// The sample rate of one in `count`: the largest float of which servers, which take the whole part of its reciprocal,
/// make `count` again. `None` for a count of one, which needs no rate.
#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a count is rounded, and so is what servers make of it")]
pub(super) fn rate(count: u64) -> Option<f64> {
    if count <= 1 {
        return None;
    }
    let count = count as f64;
    let rate = 1.0 / count;
    // One in 49 is such a case: 1/(1/49) is 48.999...
    Some(if 1.0 / rate < count { rate.next_down() } else { rate })
}

/// Whether a line can say it.
pub(super) fn is_finite(number: Number) -> bool {
    match number {
        Number::Integer(_) => true,
        Number::Float(number) => number.is_finite(),
    }
}

/// Whether it is below zero.
pub(super) fn is_negative(number: Number) -> bool {
    match number {
        Number::Integer(number) => number < 0,
        Number::Float(number) => number < 0.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_no_exponent_and_zero_no_sign() {
        for (number, text) in [(1e21, "1000000000000000000000"), (1.5e-7, "0.00000015"), (-0.0, "0"), (-2.5, "-2.5")] {
            assert_eq!(Plain(Number::Float(number)).to_string(), text);
        }
        assert_eq!(Plain(Number::Integer(i64::MIN)).to_string(), "-9223372036854775808");
    }

    #[test]
    fn differences_are_told_without_noise() {
        for (number, text) in
            [(0.3 - 0.1, "0.2"), (1000.003 - 1000.001, "0.002"), (-1e-12, "0"), (-1.5, "-1.5"), (100.0, "100")]
        {
            assert_eq!(Rounded(Number::Float(number)).to_string(), text);
        }
        assert!(Rounded(Number::Float(1e-10)).is_zero() && !Rounded(Number::Float(1e-9)).is_zero());
    }

    proptest! {
        #[test]
        fn a_server_makes_the_count_of_the_rate_again(count in prop_oneof![2_u64..100_000, 2_u64..1 << 52]) {
            let text = rate(count).unwrap().to_string();
            prop_assert!(!text.contains('e'));
            let read: f64 = text.parse().unwrap();
            prop_assert!(read > 0.0 && read <= 1.0);
            prop_assert_eq!((1.0 / read) as u64, count);
        }
    }
}
