//! Moments as RFC 3339, in UTC, to the millisecond.

use std::cell::RefCell;

thread_local! {
    /// The second that was written last, and its text: most moments are of the same second as the one before.
    static LAST: RefCell<(u64, Vec<u8>)> = const { RefCell::new((u64::MAX, Vec::new())) };
}

/// Appends `2024-02-29T12:34:56.789Z`; `nanoseconds` are since the Unix epoch.
pub fn write(out: &mut Vec<u8>, nanoseconds: u64) {
    let milliseconds = nanoseconds / 1_000_000;
    let seconds = milliseconds / 1000;
    LAST.with_borrow_mut(|(last, text)| {
        if *last != seconds {
            text.clear();
            second(text, seconds);
            *last = seconds;
        }
        out.extend_from_slice(text);
    });
    number(out, milliseconds % 1000, 3);
    out.push(b'Z');
}

/// `2024-02-29T12:34:56.`
fn second(out: &mut Vec<u8>, seconds: u64) {
    let (year, month, day) = date(seconds / 86_400);
    let time = seconds % 86_400;
    number(out, year, 4);
    out.push(b'-');
    number(out, month, 2);
    out.push(b'-');
    number(out, day, 2);
    out.push(b'T');
    number(out, time / 3600, 2);
    out.push(b':');
    number(out, time / 60 % 60, 2);
    out.push(b':');
    number(out, time % 60, 2);
    out.push(b'.');
}

/// Days since the epoch to year, month and day: Howard Hinnant's `civil_from_days`, for days that are not negative.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn number(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    out.extend_from_slice(digits.get(digits.len() - width..).unwrap_or(&digits));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (nanoseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_000_000_000, "2000-02-29T12:34:56.000Z"),
            (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123Z"),
            (1_704_067_199_999_000_000, "2023-12-31T23:59:59.999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            write(&mut out, nanoseconds);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
