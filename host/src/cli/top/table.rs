//! Rows of what the proxy says.

use std::cmp::Ordering;

use serde_json::Value;

use crate::cli::words::{bytes, rate, seconds};

/// One table.
#[derive(Debug)]
pub(super) struct Tab {
    pub name: &'static str,
    pub columns: &'static [Column],
}

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub title: &'static str,
    /// Sorts by it.
    pub letter: char,
    /// In the proxy's answer.
    field: &'static str,
    pub kind: Kind,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Rate,
    Count,
    Bytes,
    Seconds,
    Percent,
}

impl Kind {
    pub fn is_text(self) -> bool {
        self == Self::Text
    }
}

const fn column(title: &'static str, letter: char, field: &'static str, kind: Kind) -> Column {
    Column { title, letter, field, kind }
}

/// Field of an object's own name.
const NAME: &str = "";

pub(super) static TABS: [Tab; 5] = [
    Tab {
        name: "listeners",
        columns: &[
            column("LISTENER", 'n', NAME, Kind::Text),
            column("REQ/S", 'r', "requests", Kind::Rate),
            column("ERR/S", 'e', "errors", Kind::Rate),
            column("ACTIVE", 'a', "active", Kind::Count),
            column("CONNS", 'c', "connections", Kind::Count),
            column("NEW/S", 'w', "accepted", Kind::Rate),
            column("REFUSED/S", 'f', "refused", Kind::Rate),
            column("P50", '5', "p50", Kind::Seconds),
            column("P90", 'p', "p90", Kind::Seconds),
            column("P99", '9', "p99", Kind::Seconds),
            column("IN/S", 'i', "received_bytes", Kind::Bytes),
            column("OUT/S", 'o', "sent_bytes", Kind::Bytes),
        ],
    },
    Tab {
        name: "clusters",
        columns: &[
            column("CLUSTER", 'n', NAME, Kind::Text),
            column("REQ/S", 'r', "requests", Kind::Rate),
            column("ERR/S", 'e', "errors", Kind::Rate),
            column("ACTIVE", 'a', "active", Kind::Count),
            column("PENDING", 'g', "pending", Kind::Count),
            column("RETRY/S", 't', "retries", Kind::Rate),
            column("CONNS", 'c', "connections", Kind::Count),
            column("USABLE", 'u', "usable", Kind::Count),
            column("OF", 'o', "endpoints", Kind::Count),
            column("P50", '5', "p50", Kind::Seconds),
            column("P90", 'p', "p90", Kind::Seconds),
            column("P99", '9', "p99", Kind::Seconds),
        ],
    },
    Tab {
        name: "endpoints",
        columns: &[
            column("ENDPOINT", 'n', "address", Kind::Text),
            column("CLUSTER", 'l', "cluster", Kind::Text),
            column("HEALTH", 'h', "health", Kind::Text),
            column("CONNS", 'c', "connections", Kind::Count),
            column("WEIGHT", 'w', "weight", Kind::Count),
            column("WHY", 'y', "reasons", Kind::Text),
            column("LAST CHECK", 'k', "last_check", Kind::Text),
        ],
    },
    Tab {
        name: "filters",
        columns: &[
            column("FILTER", 'n', NAME, Kind::Text),
            column("STREAMS/S", 's', "streams", Kind::Rate),
            column("CALLS/S", 'c', "calls", Kind::Rate),
            column("REPLIES/S", 'r', "replies", Kind::Rate),
            column("FAILED/S", 'f', "failed", Kind::Rate),
            column("TRAPS/S", 't', "traps", Kind::Rate),
            column("CALLOUTS/S", 'o', "callouts", Kind::Rate),
            column("CPU P50", '5', "p50", Kind::Seconds),
            column("CPU P99", '9', "p99", Kind::Seconds),
            column("INSTANCES", 'i', "instances", Kind::Count),
            column("MEMORY", 'm', "memory_bytes", Kind::Bytes),
        ],
    },
    Tab {
        name: "workers",
        columns: &[
            column("WORKER", 'n', NAME, Kind::Text),
            column("STREAMS/S", 's', "streams", Kind::Rate),
            column("ACTIVE", 'a', "active", Kind::Count),
            column("CONNS", 'c', "connections", Kind::Count),
            column("CPU", 'u', "cpu", Kind::Percent),
            column("BUSY P50", '5', "p50", Kind::Seconds),
            column("BUSY P99", '9', "p99", Kind::Seconds),
        ],
    },
];

/// A value, and how it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub text: String,
    /// `None`: a text, or nothing.
    number: Option<f64>,
}

/// The rows of a table, sorted by a column.
pub(super) fn rows(tab: &Tab, rates: &Value, sort: usize, reverse: bool) -> Vec<Vec<Cell>> {
    let row = |name: &str, value: &Value| tab.columns.iter().map(|column| cell(column, name, value)).collect();
    let mut rows: Vec<Vec<Cell>> = match rates.get(tab.name) {
        Some(Value::Object(all)) => all.iter().map(|(name, value)| row(name, value)).collect(),
        Some(Value::Array(all)) => all.iter().map(|value| row("", value)).collect(),
        _ => Vec::new(),
    };
    // Stable: what is equal stays in the proxy's order, so that rows do not jump.
    rows.sort_by(|one, other| {
        let order = compare(one.get(sort), other.get(sort));
        if reverse { order.reverse() } else { order }
    });
    rows
}

fn cell(column: &Column, name: &str, value: &Value) -> Cell {
    if column.field == NAME {
        // Numbers of workers are names, and sort as numbers.
        return Cell { text: name.to_owned(), number: name.parse().ok() };
    }
    let nothing = || Cell { text: "-".to_owned(), number: None };
    match value.get(column.field) {
        Some(Value::Number(number)) => {
            let number = number.as_f64().unwrap_or(0.0);
            let text = match column.kind {
                Kind::Rate => rate(number),
                Kind::Bytes => bytes(number),
                Kind::Seconds => seconds(number),
                Kind::Percent => format!("{:.0}%", number * 100.0),
                Kind::Count | Kind::Text => format!("{number:.0}"),
            };
            Cell { text, number: Some(number) }
        }
        Some(Value::String(text)) => Cell { text: text.clone(), number: None },
        Some(Value::Array(texts)) if !texts.is_empty() => {
            let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
            Cell { text: texts.join(", "), number: None }
        }
        _ => nothing(),
    }
}

/// Numbers before texts, larger ones first; texts by the alphabet.
fn compare(one: Option<&Cell>, other: Option<&Cell>) -> Ordering {
    let (Some(one), Some(other)) = (one, other) else { return Ordering::Equal };
    match (one.number, other.number) {
        (Some(one), Some(other)) => other.total_cmp(&one),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.text.cmp(&other.text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn letters_are_unique_within_a_table_and_not_those_of_the_screen() {
        for tab in &TABS {
            let letters: BTreeSet<char> = tab.columns.iter().map(|column| column.letter).collect();
            assert_eq!(letters.len(), tab.columns.len(), "{}", tab.name);
            assert!(!letters.contains(&'q') && !letters.contains(&'j'), "{}", tab.name);
        }
    }

    #[test]
    fn rows_are_sorted_by_a_column_either_way() {
        let rates = json!({ "clusters": {
            "a": { "requests": 1.0, "p99": null }, "b": { "requests": 30.0, "p99": 0.5 }, "c": { "requests": 2.0, "p99": 0.1 },
        } });
        let tab = &TABS[1];
        let names = |sort: usize, reverse: bool| -> Vec<String> {
            rows(tab, &rates, sort, reverse).into_iter().map(|row| row[0].text.clone()).collect()
        };
        assert_eq!(
            (names(0, false), names(1, false)),
            (vec!["a".into(), "b".into(), "c".into()], vec!["b".into(), "c".into(), "a".into()])
        );
        assert_eq!(names(1, true), ["a", "c", "b"]);
        assert_eq!(names(11, false), ["b", "c", "a"]);
        let row = &rows(tab, &rates, 1, false)[0];
        assert_eq!((row[1].text.as_str(), row[11].text.as_str(), row[4].text.as_str()), ("30.0", "500.0ms", "-"));
        assert!(rows(tab, &Value::Null, 0, false).is_empty());
    }
}
