//! TOML 1. Every syntax error of a file is reported, not only the first.

use toml::de::{DeTable, DeValue};

use super::too_deep;
use crate::config::{
    report::Diagnostics,
    source::{FileId, Span},
    tree::{Key, MAX_DEPTH, Node, Value},
};

pub(super) fn parse(file: FileId, diagnostics: &mut Diagnostics<'_>) -> Option<Node> {
    let text = diagnostics.sources.text(file);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let range = error.span().unwrap_or_default();
        let span = Span { file, start: range.start, end: range.end };
        let message = error.message().lines().next().unwrap_or_default().to_owned();
        diagnostics.error(span, "", format!("not TOML: {message}"));
    }
    if !errors.is_empty() {
        return None;
    }
    Some(self::table(table.get_ref(), Span { file, start: 0, end: 0 }, 0, diagnostics))
}

fn table(table: &DeTable<'_>, span: Span, depth: usize, diagnostics: &mut Diagnostics<'_>) -> Node {
    let mut entries = Vec::new();
    for (key, entry) in table {
        let span = |range: std::ops::Range<usize>| Span { file: span.file, start: range.start, end: range.end };
        let place = Key { text: key.get_ref().to_string(), span: span(key.span()) };
        // A table made by a dotted key or a header begins where it was named.
        let value = span(if entry.get_ref().is_table() { key.span() } else { entry.span() });
        entries.push((place, node(entry.get_ref(), value, depth + 1, diagnostics)));
    }
    entries.sort_by_key(|(key, _)| key.span.start);
    Node::new(span, Value::Map(entries))
}

fn node(value: &DeValue<'_>, span: Span, depth: usize, diagnostics: &mut Diagnostics<'_>) -> Node {
    if depth > MAX_DEPTH {
        too_deep(span, diagnostics);
        return Node::new(span, Value::Bad);
    }
    let value = match value {
        DeValue::String(value) => Value::String(value.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(value) => Value::String(value.to_string()),
        DeValue::Table(inner) => return table(inner, span, depth, diagnostics),
        DeValue::Array(items) => {
            let mut nodes = Vec::new();
            for item in items.iter() {
                let span = Span { start: item.span().start, end: item.span().end, ..span };
                nodes.push(node(item.get_ref(), span, depth + 1, diagnostics));
            }
            Value::Seq(nodes)
        }
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => Value::Int(value.into()),
            Err(_) => {
                diagnostics.error(span, "", "number out of range");
                Value::Bad
            }
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(value) if value.is_finite() => Value::Float(value),
            _ => {
                diagnostics.error(span, "", "not a finite number");
                Value::Bad
            }
        },
    };
    Node::new(span, value)
}
