//! YAML 1.2, core schema. One document, no merge keys, `!env` as the only tag; anchors are expanded within bounds.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, ScanError, YamlData};

use super::{Entries, Environment, too_deep, twice};
use crate::config::{
    report::Diagnostics,
    source::{FileId, Span},
    tree::{Key, MAX_DEPTH, Node, Value},
};

pub(super) fn parse(file: FileId, environment: Environment<'_>, diagnostics: &mut Diagnostics<'_>) -> Option<Node> {
    let text = diagnostics.sources.text(file);
    if let Some(at) = deep_block(text) {
        too_deep(Span { file, start: at, end: at + 1 }, diagnostics);
        return None;
    }
    let places = Places::new(file, text);
    let mut documents = match MarkedYaml::load_from_str(text) {
        Ok(documents) => documents.into_iter(),
        Err(error) => {
            refused(&error, &places, text, diagnostics);
            return None;
        }
    };
    let empty = Node::new(Span { file, start: 0, end: 0 }, Value::Map(Vec::new()));
    let Some(document) = documents.next() else {
        return Some(empty);
    };
    if let Some(second) = documents.next() {
        diagnostics.error(places.span(&second), "", "several documents in one file");
        return None;
    }
    let mut builder = Builder { places, environment, diagnostics };
    match document.data {
        // No document at all: comments, or nothing.
        YamlData::BadValue => Some(empty),
        _ => Some(builder.node(document, 0)),
    }
}

fn refused(error: &ScanError, places: &Places, text: &str, diagnostics: &mut Diagnostics<'_>) {
    let at = places.byte(error.marker().index());
    let span = Span { file: places.file, start: at, end: at };
    if error.info() != "duplicated key in mapping" {
        return diagnostics.error(span, "", format!("not YAML: {}", error.info()));
    }
    let key = text.get(at..).unwrap_or_default();
    let key = key.get(..key.find([':', '\n']).unwrap_or(key.len())).unwrap_or_default().trim();
    let span = Span { end: at + key.len(), ..span };
    let first = earlier_key(text, at, key).map(|first| Span { start: first, end: first + key.len(), ..span });
    twice(key.trim_matches(['"', '\'']), span, first, diagnostics);
}

/// Where a block mapping, whose second `key` is at a byte, has its first: above it, at the same column, before
/// anything that is indented less. The parser names only the second.
fn earlier_key(text: &str, second: usize, key: &str) -> Option<usize> {
    let above = text.get(..second)?;
    let mut line_start = above.rfind('\n').map_or(0, |newline| newline + 1);
    let column = second - line_start;
    while line_start > 0 {
        let end = line_start - 1;
        line_start = text.get(..end)?.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text.get(line_start..end)?;
        if line.get(column..).and_then(|rest| rest.strip_prefix(key)).is_some_and(|rest| rest.starts_with(':')) {
            return Some(line_start + column);
        }
        let content = line.trim_start();
        if !content.is_empty() && !content.starts_with('#') && line.len() - content.len() < column {
            return None;
        }
    }
    None
}

/// The parser recurses over block nesting without a limit of its own (flow nesting it stops at 255), so the
/// nesting is estimated first: indentation that grows line by line, and `- - -` within a line.
fn deep_block(text: &str) -> Option<usize> {
    let (mut indents, mut offset) = (Vec::new(), 0);
    for line in text.split('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if indent < line.len() {
            while indents.last().is_some_and(|last| *last >= indent) {
                indents.pop();
            }
            indents.push(indent);
            let inline = line
                .split_ascii_whitespace()
                .take_while(|word| matches!(*word, "-" | "?" | ":") || word.starts_with(['&', '!']))
                .count();
            if indents.len() + inline > 2 * MAX_DEPTH {
                return Some(offset);
            }
        }
        offset += line.len() + 1;
    }
    None
}

/// From the parser's positions (characters) to ours (bytes).
struct Places {
    file: FileId,
    length: usize,
    /// Byte of each character; empty where the two are the same.
    bytes: Vec<usize>,
}

impl Places {
    fn new(file: FileId, text: &str) -> Self {
        let bytes = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self { file, length: text.len(), bytes }
    }

    fn byte(&self, character: usize) -> usize {
        if self.bytes.is_empty() {
            return character.min(self.length);
        }
        self.bytes.get(character).copied().unwrap_or(self.length)
    }

    fn span(&self, mark: &MarkedYaml<'_>) -> Span {
        let start = self.byte(mark.span.start.index());
        let collection = matches!(mark.data, YamlData::Sequence(_) | YamlData::Mapping(_));
        let end = if collection { start + 1 } else { self.byte(mark.span.end.index()).max(start) };
        Span { file: self.file, start, end }
    }
}

struct Builder<'a, 'b, 'c> {
    places: Places,
    environment: Environment<'a>,
    diagnostics: &'b mut Diagnostics<'c>,
}

impl Builder<'_, '_, '_> {
    fn node(&mut self, mark: MarkedYaml<'_>, depth: usize) -> Node {
        let span = self.places.span(&mark);
        self.read(mark, span, depth).unwrap_or_else(|| Node::new(span, Value::Bad))
    }

    /// `None`: refused, with a problem.
    fn read(&mut self, mark: MarkedYaml<'_>, span: Span, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            too_deep(span, self.diagnostics);
            return None;
        }
        let value = match mark.data {
            YamlData::Value(scalar) => self.scalar(scalar, span)?,
            YamlData::Tagged(tag, inner) => return self.tagged(&tag.to_string(), &inner, span),
            YamlData::Sequence(items) => Value::Seq(items.into_iter().map(|item| self.node(item, depth + 1)).collect()),
            YamlData::Mapping(pairs) => {
                let mut entries = Entries::default();
                for (key, value) in pairs {
                    let key = self.key(&key);
                    let value = self.node(value, depth + 1);
                    if let Some(key) = key {
                        entries.insert(key, value, self.diagnostics);
                    }
                }
                Value::Map(entries.list)
            }
            YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
                self.diagnostics.error(span, "", "not a value: its tag does not fit, or it refers to itself");
                return None;
            }
        };
        Some(Node::new(span, value))
    }

    fn scalar(&mut self, scalar: Scalar<'_>, span: Span) -> Option<Value> {
        Some(match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(value),
            Scalar::Integer(value) => Value::Int(value.into()),
            Scalar::String(value) => Value::String(value.into_owned()),
            Scalar::FloatingPoint(value) => {
                // The parser's integers end at i64; ours reach to u64.
                let text = self.diagnostics.sources.text(span.file).get(span.start..span.end).unwrap_or_default();
                if let Ok(value) = text.trim().parse::<u64>() {
                    Value::Int(value.into())
                } else if value.is_finite() {
                    Value::Float(*value)
                } else {
                    self.diagnostics.error(span, "", "not a finite number");
                    return None;
                }
            }
        })
    }

    fn key(&mut self, mark: &MarkedYaml<'_>) -> Option<Key> {
        let span = self.places.span(mark);
        let text = match &mark.data {
            YamlData::Value(Scalar::String(text)) => text.to_string(),
            YamlData::Value(Scalar::Integer(value)) => value.to_string(),
            YamlData::Value(Scalar::Boolean(value)) => value.to_string(),
            YamlData::Value(Scalar::FloatingPoint(value)) => value.to_string(),
            _ => {
                self.diagnostics.error_with_help(span, "", "this cannot be a key", "a key is a plain string");
                return None;
            }
        };
        Some(Key { text, span })
    }

    fn tagged(&mut self, tag: &str, mark: &MarkedYaml<'_>, span: Span) -> Option<Node> {
        if tag != "!env" {
            self.diagnostics.error_with_help(span, "", format!("unknown tag {tag:?}"), "`!env NAME` is the only one");
            return None;
        }
        let YamlData::Value(Scalar::String(name)) = &mark.data else {
            let help = "for example `!env TOKEN`";
            self.diagnostics.error_with_help(span, "", "!env takes the name of an environment variable", help);
            return None;
        };
        let Some(value) = (self.environment)(name) else {
            let message = format!("environment variable {name:?} is not set");
            self.diagnostics.error_with_help(
                span,
                "",
                message,
                format!("start Fyke with {name}=... or write the value"),
            );
            return None;
        };
        Some(Node { span, value: Value::String(value), env: Some(name.to_string()) })
    }
}
