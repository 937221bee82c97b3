//! Panels as JSON, written while the filter is compiled.

use super::{Chart, Panel, Unit};
use crate::schema::put;

/// Most panels of a filter.
const PANELS: usize = 24;
const TITLE: usize = 80;
const NAME: usize = 256;
const LABELS: usize = 8;
const DESCRIPTION: usize = 400;

/// What is wrong with panels, as the attributes check it at compile time; `None`: nothing.
#[must_use]
pub const fn check(panels: &[Panel]) -> Option<&'static str> {
    if panels.len() > PANELS {
        return Some("a filter may have 24 panels");
    }
    let mut rest = panels;
    while let [panel, others @ ..] = rest {
        if panel.title.is_empty() || panel.title.len() > TITLE {
            return Some("a panel's title has 1 to 80 bytes");
        }
        if panel.metric.is_empty() || panel.metric.len() > NAME {
            return Some("a panel's metric has a name of 1 to 256 bytes");
        }
        if panel.labels.len() > LABELS || panel.only.len() > LABELS {
            return Some("a panel may name 8 labels, and 8 in `only`");
        }
        if panel.percentile < 1 || panel.percentile > 99 {
            return Some("a panel's percentile is 1 to 99");
        }
        if panel.description.len() > DESCRIPTION {
            return Some("a panel's description has at most 400 bytes");
        }
        let mut labels = panel.labels;
        while let [label, more @ ..] = labels {
            if label.is_empty() || label.len() > NAME {
                return Some("a panel's labels have names of 1 to 256 bytes");
            }
            labels = more;
        }
        let mut only = panel.only;
        while let [(label, value), more @ ..] = only {
            if label.is_empty() || label.len() > NAME || value.len() > NAME {
                return Some("names and values in a panel's `only` have at most 256 bytes");
            }
            only = more;
        }
        rest = others;
    }
    None
}

/// How many bytes the member `"panels"` has, comma included; without panels there is none.
#[must_use]
pub const fn length(panels: &[Panel]) -> usize {
    all(panels, &mut [], 0)
}

/// The member. `N` is [`length`].
#[must_use]
pub const fn bytes<const N: usize>(panels: &[Panel]) -> [u8; N] {
    let mut bytes = [b' '; N];
    all(panels, &mut bytes, 0);
    bytes
}

/// The member, where it is not known before the program runs.
#[cfg(test)]
pub(super) fn all_of(panels: &[Panel]) -> String {
    let mut bytes = vec![0; length(panels)];
    all(panels, &mut bytes, 0);
    String::from_utf8(bytes).unwrap()
}

// Each writes from `at` on, as far as there is room, and returns where it ends.

const fn all(panels: &[Panel], out: &mut [u8], at: usize) -> usize {
    if panels.is_empty() {
        return at;
    }
    let mut at = put(",\"panels\":[", out, at);
    let mut rest = panels;
    while let [panel, others @ ..] = rest {
        at = one(panel, out, at);
        if !others.is_empty() {
            at = put(",", out, at);
        }
        rest = others;
    }
    put("]", out, at)
}

const fn one(panel: &Panel, out: &mut [u8], at: usize) -> usize {
    let mut at = put("{\"title\":", out, at);
    at = text(panel.title, out, at);
    at = put(",\"metric\":", out, at);
    at = text(panel.metric, out, at);
    at = put(",\"chart\":\"", out, at);
    at = put(chart(panel.chart), out, at);
    at = put("\",\"unit\":\"", out, at);
    at = put(unit(panel.unit), out, at);
    at = put("\"", out, at);
    if panel.percentile != 99 {
        at = put(",\"percentile\":", out, at);
        let digits = [b'0' + panel.percentile / 10 % 10, b'0' + panel.percentile % 10];
        let [tens, ones] = &digits;
        if *tens != b'0' {
            at = byte(*tens, out, at);
        }
        at = byte(*ones, out, at);
    }
    if !panel.labels.is_empty() {
        at = put(",\"labels\":[", out, at);
        let mut labels = panel.labels;
        while let [label, others @ ..] = labels {
            at = text(label, out, at);
            if !others.is_empty() {
                at = put(",", out, at);
            }
            labels = others;
        }
        at = put("]", out, at);
    }
    if !panel.only.is_empty() {
        at = put(",\"only\":[", out, at);
        let mut only = panel.only;
        while let [(label, value), others @ ..] = only {
            at = put("[", out, at);
            at = text(label, out, at);
            at = put(",", out, at);
            at = text(value, out, at);
            at = put(if others.is_empty() { "]" } else { "]," }, out, at);
            only = others;
        }
        at = put("]", out, at);
    }
    if !panel.description.is_empty() {
        at = put(",\"description\":", out, at);
        at = text(panel.description, out, at);
    }
    put("}", out, at)
}

const fn chart(chart: Chart) -> &'static str {
    match chart {
        Chart::Line => "line",
        Chart::Stacked => "stacked",
        Chart::Bar => "bar",
        Chart::Top => "top",
        Chart::Table => "table",
        Chart::Number => "number",
    }
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Number => "number",
        Unit::PerSecond => "per_second",
        Unit::Seconds => "seconds",
        Unit::Milliseconds => "milliseconds",
        Unit::Microseconds => "microseconds",
        Unit::Bytes => "bytes",
        Unit::Percent => "percent",
    }
}

/// A string in quotes (RFC 8259, section 7).
const fn text(text: &str, out: &mut [u8], at: usize) -> usize {
    let mut at = put("\"", out, at);
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        at = match *first {
            b'"' => put("\\\"", out, at),
            b'\\' => put("\\\\", out, at),
            control @ 0..0x20 => {
                let at = put("\\u00", out, at);
                let at = byte(b'0' + control / 16, out, at);
                byte(hexadecimal(control % 16), out, at)
            }
            plain => byte(plain, out, at),
        };
        rest = others;
    }
    put("\"", out, at)
}

const fn hexadecimal(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

const fn byte(byte: u8, out: &mut [u8], at: usize) -> usize {
    if let Some((_, [place, ..])) = out.split_at_mut_checked(at) {
        *place = byte;
    }
    at + 1
}
