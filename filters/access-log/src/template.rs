//! Format strings: literal text and `%COMMAND(argument):length%`; `%%` is a percent sign.

use fyke_sdk::property::{Reads, Values};

use crate::command::Command;

/// A format string, taken apart.
#[derive(Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Literal(String),
    Command { command: Command, limit: Option<usize> },
}

impl Template {
    pub fn parse(text: &str, reads: &mut Reads) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            one_line(&literal)?;
            if let Some(after) = after.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let (piece, after) = command(after, reads)?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        one_line(&literal)?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// Appends a line of text.
    pub fn write_text(&self, out: &mut Vec<u8>, values: &Values) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Command { command, limit } => command.write_text(out, values, *limit),
            }
        }
    }

    /// Appends the inside of a JSON string.
    pub fn write_json(&self, out: &mut Vec<u8>, values: &Values) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => crate::escape::json(out, text.as_bytes()),
                Piece::Command { command, limit } => command.write_json(out, values, *limit),
            }
        }
    }
}

/// What stands behind an opening percent sign, up to the closing one and the rest.
fn command<'a>(text: &'a str, reads: &mut Reads) -> Result<(Piece, &'a str), String> {
    let end = text.find(['(', ':', '%']).ok_or_else(|| unclosed(text))?;
    let (name, mut rest) = text.split_at(end);
    let mut argument = None;
    if let Some(inside) = rest.strip_prefix('(') {
        // A header may not contain a parenthesis, so the first one closes.
        let (inside, after) = inside.split_once(')').ok_or_else(|| unclosed(text))?;
        argument = Some(inside);
        rest = after;
    }
    let mut limit = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = after.find('%').ok_or_else(|| unclosed(text))?;
        let (number, after) = after.split_at(end);
        limit = Some(number.parse().map_err(|_| format!("\"{number}\" in %{name}...:{number}% is not a length"))?);
        rest = after;
    }
    let rest = rest.strip_prefix('%').ok_or_else(|| unclosed(text))?;
    Ok((Piece::Command { command: Command::parse(name, argument, reads)?, limit }, rest))
}

fn unclosed(text: &str) -> String {
    let beginning: String = text.chars().take(20).collect();
    format!("\"%{beginning}\" has no closing '%'; a percent sign itself is written %%")
}
fn one_line(literal: &str) -> Result<(), String> {
    if literal.contains(['\n', '\r']) {
        return Err("a record is one line; the sink ends it".to_owned());
    }
    Ok(())
}
