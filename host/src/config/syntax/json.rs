//! JSON, strictly: `serde_json` decides what is JSON, a walk over the accepted text finds the places.

use super::{Entries, too_deep};
use crate::config::{
    report::Diagnostics,
    source::{FileId, Span},
    tree::{Key, MAX_DEPTH, Node, Value},
};

pub(super) fn parse(file: FileId, diagnostics: &mut Diagnostics<'_>) -> Option<Node> {
    let text = diagnostics.sources.text(file);
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        let at = byte(text, error.line(), error.column());
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        diagnostics.error(Span { file, start: at, end: at }, "", format!("not JSON: {message}"));
        return None;
    }
    Walk { file, text, at: 0, diagnostics }.value(0)
}

/// `serde_json` counts columns in bytes, from 1, and names the byte that it stopped at.
fn byte(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split('\n').take(line.saturating_sub(1)).map(|line| line.len() + 1).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

struct Walk<'a, 'b, 'c> {
    file: FileId,
    text: &'a str,
    at: usize,
    diagnostics: &'b mut Diagnostics<'c>,
}

impl<'a> Walk<'a, '_, '_> {
    /// `None`: nested too deeply (reported), or not what `serde_json` accepted (cannot happen).
    fn value(&mut self, depth: usize) -> Option<Node> {
        let start = self.next()?;
        let span = Span { file: self.file, start, end: start + 1 };
        if depth > MAX_DEPTH {
            too_deep(span, self.diagnostics);
            return None;
        }
        match self.text.as_bytes().get(start)? {
            b'{' => {
                let mut entries = Entries::default();
                self.at += 1;
                while self.byte()? != b'}' {
                    let start = self.next()?;
                    let token = self.token()?;
                    let span = Span { file: self.file, start, end: self.at };
                    let text = serde_json::from_str(token).ok()?;
                    self.next()?;
                    self.at += 1; // the colon
                    let value = self.value(depth + 1)?;
                    entries.insert(Key { text, span }, value, self.diagnostics);
                    self.comma()?;
                }
                self.at += 1;
                Some(Node::new(span, Value::Map(entries.list)))
            }
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                while self.byte()? != b']' {
                    items.push(self.value(depth + 1)?);
                    self.comma()?;
                }
                self.at += 1;
                Some(Node::new(span, Value::Seq(items)))
            }
            _ => {
                let token = self.token()?;
                let value = match serde_json::from_str(token).ok()? {
                    serde_json::Value::Bool(value) => Value::Bool(value),
                    serde_json::Value::String(value) => Value::String(value),
                    serde_json::Value::Number(number) => {
                        number.as_i128().map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int)
                    }
                    _ => Value::Null,
                };
                Some(Node::new(Span { end: self.at, ..span }, value))
            }
        }
    }

    /// Moves to the next byte that is not white space.
    fn next(&mut self) -> Option<usize> {
        let rest = self.text.get(self.at..)?;
        self.at += rest.len() - rest.trim_start().len();
        Some(self.at)
    }

    fn byte(&mut self) -> Option<u8> {
        let at = self.next()?;
        self.text.as_bytes().get(at).copied()
    }

    fn comma(&mut self) -> Option<()> {
        if self.byte()? == b',' {
            self.at += 1;
        }
        Some(())
    }

    /// The scalar that begins here.
    fn token(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let length = match rest.strip_prefix('"') {
            Some(inside) => {
                let mut escaped = false;
                let end = inside.bytes().position(|byte| {
                    let closes = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    closes
                })?;
                end + 2
            }
            None => rest.find(|c: char| c.is_whitespace() || ",:]}".contains(c)).unwrap_or(rest.len()),
        };
        self.at += length;
        rest.get(..length)
    }
}
