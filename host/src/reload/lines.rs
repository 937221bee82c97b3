//! What is different between two configurations, line by line, in the words of the configuration.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use serde_json::Value;
use similar::{Algorithm, DiffTag};

/// Lines of a difference that are kept.
const MOST: usize = 200;
/// Bytes of a line.
const LONGEST: usize = 300;
/// Lines around a change that are the same.
const AROUND: usize = 2;
/// Of larger configurations the words say enough.
const LARGEST: usize = 50_000;
/// How long it may take; what is found until then is a difference too, though not the smallest.
const PATIENCE: Duration = Duration::from_millis(300);

/// A line, and which side has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `+`: the new one; `-`: the old one; a space: both; `.`: lines that are the same were left out here.
    pub side: char,
    /// Without its sign.
    pub text: String,
}

/// The lines that differ, with what is around them; at most 200. Both as they are written, secrets masked.
#[must_use]
pub fn between(old: &Value, new: &Value) -> Vec<Line> {
    if old == new {
        return Vec::new();
    }
    let [old, new] = [old, new].map(|value| {
        let mut lines = Vec::new();
        write(value, 0, "", &mut lines);
        lines
    });
    if old.len() > LARGEST || new.len() > LARGEST {
        return Vec::new();
    }
    let deadline = Some(Instant::now() + PATIENCE);
    let found = similar::capture_diff_slices_deadline(Algorithm::Myers, &old, &new, deadline);
    let mut lines = Vec::new();
    for (place, group) in similar::group_diff_ops(found, AROUND).into_iter().enumerate() {
        if place > 0 {
            lines.push(Line { side: '.', text: String::new() });
        }
        for change in group {
            let mut put = |side, of: &[String], range: Range<usize>| {
                let texts = of.get(range).unwrap_or_default();
                lines.extend(texts.iter().map(|text| Line { side, text: text.clone() }));
            };
            if change.tag() == DiffTag::Equal {
                put(' ', &new, change.new_range());
            } else {
                put('-', &old, change.old_range());
                put('+', &new, change.new_range());
            }
            if lines.len() > MOST {
                lines.truncate(MOST);
                return lines;
            }
        }
    }
    lines
}

/// As YAML would have it; nobody reads it again. `first` stands before the first line of an element of a list.
fn write(value: &Value, depth: usize, first: &str, lines: &mut Vec<String>) {
    if lines.len() > LARGEST {
        return;
    }
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (place, (key, value)) in members.iter().enumerate() {
                let begin = if place == 0 { first } else { "" };
                let indent = match (first, place) {
                    ("", _) | (_, 0) => indent.clone(),
                    _ => format!("{indent}  "),
                };
                let depth = depth + usize::from(!first.is_empty()) + 1;
                match simple(value) {
                    Some(text) => lines.push(cut(format!("{indent}{begin}{key}: {text}"))),
                    None => {
                        lines.push(cut(format!("{indent}{begin}{key}:")));
                        write(value, depth, "", lines);
                    }
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                match simple(item) {
                    Some(text) => lines.push(cut(format!("{indent}{first}- {text}"))),
                    None => write(item, depth, "- ", lines),
                }
            }
        }
        other => lines.push(cut(format!("{indent}{first}{}", simple(other).unwrap_or_default()))),
    }
}

/// What fits into one line.
fn simple(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.contains('\n') && !text.is_empty() => Some(text.clone()),
        Value::Array(items) if !items.is_empty() => None,
        Value::Object(members) if !members.is_empty() => None,
        other => Some(other.to_string()),
    }
}

fn cut(mut line: String) -> String {
    if line.len() > LONGEST {
        line.truncate(line.floor_char_boundary(LONGEST));
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| format!("{}{}", line.side, line.text)).collect()
    }

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let old = json!({
            "listeners": { "web": { "address": "0.0.0.0:80", "filters": ["a", "router"] } },
            "clusters": { "app": { "endpoints": [{ "address": "10.0.0.1:80", "weight": 1 }], "timeout": "5s" } },
        });
        let mut new = old.clone();
        new["clusters"]["app"]["endpoints"][0]["weight"] = 2.into();
        new["listeners"]["web"]["filters"] = json!(["router"]);
        assert_eq!(
            shown(&between(&old, &new)),
            [
                "     address: 0.0.0.0:80",
                "     filters:",
                "-      - a",
                "       - router",
                " clusters:",
                ".",
                "     endpoints:",
                "       - address: 10.0.0.1:80",
                "-        weight: 1",
                "+        weight: 2",
                "     timeout: 5s",
            ]
        );
        assert_eq!(between(&old, &old), []);
    }

    #[test]
    fn what_is_long_is_cut() {
        let old = json!({ "a": (0..1_000).collect::<Vec<_>>() });
        let new = json!({ "a": (500..2_000).collect::<Vec<_>>(), "b": "x".repeat(1_000) });
        let lines = between(&old, &new);
        assert_eq!(lines.len(), MOST);
        let lines = between(&json!({}), &json!({ "b": "ü".repeat(1_000) }));
        assert!(lines.iter().all(|line| line.text.len() <= LONGEST + 3), "{lines:?}");
        assert_eq!(between(&json!({}), &json!({ "a": (0..60_000).collect::<Vec<_>>() })), []);
    }

    proptest! {
        #[test]
        fn lines_of_both_sides_are_those_of_the_configurations(old in tree(), new in tree()) {
            let lines = between(&old, &new);
            let written = |value: &Value| {
                let mut lines = Vec::new();
                write(value, 0, "", &mut lines);
                lines
            };
            let (before, after) = (written(&old), written(&new));
            for line in &lines {
                match line.side {
                    '+' => prop_assert!(after.contains(&line.text)),
                    '-' => prop_assert!(before.contains(&line.text)),
                    ' ' => prop_assert!(before.contains(&line.text) && after.contains(&line.text)),
                    _ => prop_assert!(line.text.is_empty()),
                }
            }
            prop_assert_eq!(lines.is_empty(), before == after);
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..3_u8).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
