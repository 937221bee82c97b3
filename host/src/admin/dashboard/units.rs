//! Numbers for people: short, of steady width, and never rounded into a lie (99.999% of success is not 100%).

use crate::admin::dashboard::model::Time;

/// What stands for a number that is not known.
pub const UNKNOWN: &str = "–";

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// Three digits that count, with a suffix for thousands: `0.42`, `12.3`, `840`, `1.24k`, `38.1M`.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let size = value.abs();
    if size >= 1e15 {
        return format!("{value:.2e}");
    }
    let (scale, suffix) = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
        .into_iter()
        // What would be rounded up to 1000 of the smaller suffix gets the larger one.
        .find(|(scale, _)| size >= *scale * 0.9995)
        .unwrap_or((1.0, ""));
    let scaled = value / scale;
    let size = scaled.abs();
    let digits = match size {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    // Whole numbers that were not scaled have no decimals.
    if scale < 2.0 && scaled.fract().abs() < 1e-9 {
        return format!("{scaled:.0}");
    }
    if value != 0.0 && scale < 2.0 && size < 0.01 {
        return if value > 0.0 { "<0.01".to_owned() } else { ">-0.01".to_owned() };
    }
    format!("{scaled:.digits$}{suffix}")
}

/// A count, whole below a hundred thousand: `12,345`, `1.23M`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn count(value: u64) -> String {
    if value >= 100_000 {
        return number(value as f64);
    }
    if value >= 1_000 { format!("{},{:03}", value / 1_000, value % 1_000) } else { value.to_string() }
}

/// A count that may be unknown.
#[must_use]
pub fn count_or_unknown(value: Option<u64>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), count)
}

/// Something per second: `12.3/s`.
#[must_use]
pub fn rate(value: Option<f64>) -> String {
    known(value).map_or_else(|| UNKNOWN.to_owned(), |value| format!("{}/s", number(value)))
}

/// A duration in seconds: `412 µs`, `1.84 ms`, `12.1 s`, `3 min`.
#[must_use]
pub fn duration(seconds: Option<f64>) -> String {
    let Some(seconds) = known(seconds) else { return UNKNOWN.to_owned() };
    let size = seconds.abs();
    let (scaled, unit) = match size {
        size if size >= 119.5 => return span(size),
        size if size >= 0.9995 => (seconds, "s"),
        size if size >= 0.000_999_5 => (seconds * 1e3, "ms"),
        size if size >= 0.000_000_999_5 => (seconds * 1e6, "µs"),
        0.0 => return "0".to_owned(),
        _ => (seconds * 1e9, "ns"),
    };
    let digits = match scaled.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$} {unit}")
}

/// A duration with a sign: what something adds.
#[must_use]
pub fn added(seconds: Option<f64>) -> String {
    match known(seconds) {
        Some(seconds) if seconds >= 0.0 => format!("+{}", duration(Some(seconds))),
        other => duration(other),
    }
}

/// A share from 0 to 1: `98.7%`. Only all is `100%`, only nothing `0%`.
#[must_use]
pub fn share(value: Option<f64>) -> String {
    let Some(value) = known(value) else { return UNKNOWN.to_owned() };
    let percent = value * 100.0;
    if !percent.is_finite() {
        return UNKNOWN.to_owned();
    }
    if value > 0.0 && percent < 0.01 {
        "<0.01%".to_owned()
    } else if percent < 1.0 && percent > 0.0 {
        format!("{percent:.2}%")
    } else if value < 1.0 && percent > 99.0 {
        // Down, not up.
        format!("{:.2}%", (percent * 100.0).floor() / 100.0)
    } else if percent.fract().abs() < 1e-9 {
        format!("{percent:.0}%")
    } else {
        format!("{percent:.1}%")
    }
}

/// A share that is configured, without needless decimals: `5%`, `2.5%`.
#[must_use]
pub fn exact_share(value: f64) -> String {
    let percent = (value * 100_000.0).round() / 1_000.0;
    if percent.is_finite() { format!("{percent}%") } else { UNKNOWN.to_owned() }
}

/// Bytes: `512 B`, `1.25 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn bytes(value: Option<u64>) -> String {
    let Some(value) = value else { return UNKNOWN.to_owned() };
    if value < 1024 {
        return format!("{value} B");
    }
    let mut scaled = value as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if scaled < 1023.5 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    let digits = match scaled {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$} {unit}")
}

/// How long: `3 s`, `12 min`, `3 h 05 min`, `5 d 3 h`.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "negative and huge ones saturate")]
pub fn span(seconds: f64) -> String {
    if !seconds.is_finite() {
        return UNKNOWN.to_owned();
    }
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h {:02} min", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// How long, in as few letters as can be: `3s`, `12m`, `3h05`, `5d3h`.
#[must_use]
pub fn short_span(seconds: f64) -> String {
    if !seconds.is_finite() {
        return UNKNOWN.to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "negative and huge ones saturate")]
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h{:02}", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{}d{}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// Time of day, UTC: `12:03:04`.
#[must_use]
pub fn clock(time: Time) -> String {
    let seconds = time.0 / 1_000 % DAY;
    format!("{:02}:{:02}:{:02}", seconds / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE)
}

/// Day, UTC: `2026-03-09`.
#[must_use]
pub fn date(time: Time) -> String {
    // Days to a civil date, Howard Hinnant's algorithm, for days since 1970.
    let days = time.0 / 1_000 / DAY + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// RFC 3339, UTC, in seconds.
#[must_use]
pub fn timestamp(time: Time) -> String {
    format!("{}T{}Z", date(time), clock(time))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let written: Vec<_> = [0.0, 0.004, 0.42, 1.0, 9.999, 12.34, 99.96, 840.4, 999.7, 1_240.0, 999_950.0, 38.1e6]
            .map(number)
            .into_iter()
            .collect();
        assert_eq!(
            written,
            ["0", "<0.01", "0.42", "1", "10.0", "12.3", "100", "840", "1.00k", "1.24k", "1.00M", "38.1M"]
        );
        assert_eq!(number(f64::NAN), UNKNOWN);
        assert_eq!((count(999), count(12_345), count(1_234_567)), ("999".into(), "12,345".into(), "1.23M".into()));
        assert_eq!(number(-1_500.0), "-1.50k");
    }

    #[test]
    fn a_share_is_never_rounded_into_all_or_nothing() {
        let written: Vec<_> =
            [0.0, 0.000_01, 0.004, 0.5, 0.123_4, 0.987, 0.999_999, 1.0].map(|value| share(Some(value))).into();
        assert_eq!(written, ["0%", "<0.01%", "0.40%", "50%", "12.3%", "98.7%", "99.99%", "100%"]);
        assert_eq!(exact_share(0.025), "2.5%");
    }

    #[test]
    fn durations_choose_their_unit() {
        let written: Vec<_> = [0.0, 5e-8, 0.000_412, 0.001_84, 0.012_1, 0.25, 0.9996, 12.1, 180.0]
            .map(|value| duration(Some(value)))
            .into();
        assert_eq!(written, ["0", "50.0 ns", "412 µs", "1.84 ms", "12.1 ms", "250 ms", "1.00 s", "12.1 s", "3 min"]);
        assert_eq!(added(Some(0.000_018)), "+18.0 µs");
        assert_eq!(duration(Some(f64::INFINITY)), UNKNOWN);
    }

    #[test]
    fn bytes_and_spans() {
        assert_eq!(
            [0, 1023, 1024, 1_310_720].map(|value| bytes(Some(value))),
            ["0 B", "1023 B", "1.00 KiB", "1.25 MiB"]
        );
        assert_eq!(bytes(Some(u64::MAX)), "16384 PiB");
        assert_eq!(
            [59.9, 60.0, 11_100.0, 442_800.0, -3.0].map(span),
            ["59 s", "1 min", "3 h 05 min", "5 d 3 h", "0 s"]
        );
        assert_eq!([59.9, 60.0, 11_100.0, 442_800.0].map(short_span), ["59s", "1m", "3h05", "5d3h"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(timestamp(Time(0)), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(Time(951_782_400_000)), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(Time(1_772_323_199_999)), "2026-02-28T23:59:59Z");
        assert_eq!(timestamp(Time(1_772_323_200_000)), "2026-03-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd_to_be_written(value in any::<f64>(), whole in any::<u64>()) {
            for text in [
                number(value), rate(Some(value)), duration(Some(value)), added(Some(value)), share(Some(value)),
                exact_share(value), span(value), short_span(value), bytes(Some(whole)), count(whole), clock(Time(whole)), timestamp(Time(whole)),
            ] {
                prop_assert!(!text.is_empty() && !text.contains("NaN") && !text.contains("inf"));
            }
        }

        #[test]
        fn days_follow_each_other(day in 0_u64..100_000) {
            prop_assert!(date(Time(day * 86_400_000)) < date(Time((day + 1) * 86_400_000)));
        }
    }
}
