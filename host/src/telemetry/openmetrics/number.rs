//! Numbers as OpenMetrics wants them ("Considerations: Canonical Numbers", which are those of Go).

use super::as_float;
use crate::telemetry::reading::{Number, UnixTime};

/// A sample's value.
pub(super) fn text(number: Number) -> String {
    match number {
        Number::Integer(number) => number.to_string(),
        Number::Float(number) => float(number),
    }
}

/// Whether a counter may have it.
pub(super) fn is_count(number: Number) -> bool {
    as_float(number) >= 0.0
}

/// A float, never without a point or an exponent; exponents from 1e+06 up and below 1e-04, with two digits.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    // Zero has no sign: minus zero plus zero is zero.
    let number = number + 0.0;
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        let text = number.to_string();
        return if text.contains('.') { text } else { text + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Seconds since 1970, to the nanosecond, without an exponent.
pub(super) fn time(UnixTime(nanoseconds): UnixTime) -> String {
    const SECOND: u64 = 1_000_000_000;
    let text = format!("{}.{:09}", nanoseconds / SECOND, nanoseconds % SECOND);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_numbers_are_those_of_the_specification() {
        for text in [
            "0.0",
            "0.001",
            "0.002",
            "0.01",
            "0.1",
            "0.9",
            "0.95",
            "0.99",
            "0.999",
            "1.0",
            "1.7",
            "10.0",
            "1e-10",
            "1e-09",
            "1e-05",
            "0.0001",
            "100.0",
            "1000.0",
            "10000.0",
            "100000.0",
            "1e+06",
            "1e+07",
            "1e+10",
            "+Inf",
            "-Inf",
            "NaN",
            "2.5e-05",
            "1.23456789e+08",
            "-2.5",
            "1e+300",
            "2.5e+06",
        ] {
            let number: f64 = text.parse().unwrap();
            assert_eq!(float(number), text);
        }
        assert_eq!(float(-0.0), "0.0");
    }

    #[test]
    fn times_have_no_exponent() {
        for (nanoseconds, text) in
            [(1_520_879_607_789_000_000, "1520879607.789"), (1_000_000_000, "1.0"), (1, "0.000000001")]
        {
            assert_eq!(time(UnixTime(nanoseconds)), text);
        }
    }

    #[test]
    fn a_counter_is_no_less_than_zero() {
        assert!(is_count(Number::Integer(0)) && is_count(Number::Float(f64::INFINITY)));
        assert!(![Number::Integer(-1), Number::Float(-0.1), Number::Float(f64::NAN)].into_iter().any(is_count));
    }

    proptest! {
        #[test]
        fn a_float_reads_back(number in any::<f64>()) {
            let read: f64 = float(number).parse().unwrap();
            prop_assert!(read == number || (read.is_nan() && number.is_nan()));
        }
    }
}
