//! Numbers, times and texts for people.

use std::time::Duration;

/// `1h 5m`, `5m 3s`, `7s`
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

/// `640 B`, `3.2 KiB`
pub(super) fn bytes(count: f64) -> String {
    let mut count = count;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if count < 1024.0 {
            return if unit == "B" { format!("{count:.0} B") } else { format!("{count:.1} {unit}") };
        }
        count /= 1024.0;
    }
    format!("{count:.1} TiB")
}

/// `0`, `0.3`, `12.5`, `340`, `12.3k`
pub(super) fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate if rate < 10_000.0 => format!("{rate:.0}"),
        rate if rate < 1e6 => format!("{:.1}k", rate / 1e3),
        rate => format!("{:.1}M", rate / 1e6),
    }
}

/// `12us`, `1.2ms`, `3.4s`
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1e-3 => format!("{:.0}us", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1}ms", seconds * 1e3),
        seconds => format!("{seconds:.1}s"),
    }
}

/// A text from elsewhere, which must not do things to a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// Rows with their columns below each other; the first column to the left, numbers to the right.
pub(super) fn aligned(rows: &[Vec<String>], right: impl Fn(usize) -> bool) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let width = *width;
            if right(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.25, 99.0, 340.4, 12_345.0, 2.5e6].map(rate), ["0", "0.2", "99.0", "340", "12.3k", "2.5M"]);
        assert_eq!([3e-6, 0.0125, 3.0].map(seconds), ["3us", "12.5ms", "3.0s"]);
        assert_eq!([640.0, 3277.0, 5e9].map(bytes), ["640 B", "3.2 KiB", "4.7 GiB"]);
        assert_eq!(
            [7, 303, 3900, 90_000].map(|count| time(Duration::from_secs(count))),
            ["7s", "5m 3s", "1h 5m", "1d 1h"]
        );
        assert_eq!(printable("a\x1b[2Jb\n"), "a?[2Jb?");
    }

    #[test]
    fn columns_are_below_each_other() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let lines = aligned(&[row(&["NAME", "N"]), row(&["a", "100"])], |column| column > 0);
        assert_eq!(lines, ["NAME    N", "a     100"]);
    }
}
