//! RESP2 and RESP3 (the "Redis serialization protocol specification" of redis.io): commands out, replies in.
//!
//! Replies come from the network: what they say of their sizes is never believed beyond the bytes that are there, they are read no deeper than
//! [`DEEPEST`], and there are no more than [`MOST`] values in those of one call. Streamed strings and aggregates (`$?`), which no server sends, are not
//! read.

use super::error::ServerError;
use super::value::Value;

/// How deep lists may be in lists.
const DEEPEST: usize = 32;

/// Values in the replies of one call.
const MOST: usize = 1 << 20;

/// Places that are made for values before these are there.
const FORESEEN: usize = 64;

/// Appends a command: a list of strings.
pub fn push_command(out: &mut Vec<u8>, parts: &[impl AsRef<[u8]>]) {
    push_head(out, b'*', parts.len());
    for part in parts {
        push_bytes(out, part.as_ref());
    }
}

fn push_head(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    out.extend_from_slice(count.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Reads `count` replies that follow each other, and nothing after them. `None`: that is not what there is.
pub(super) fn replies(bytes: &[u8], count: usize) -> Option<Vec<Value>> {
    let mut reader = Reader { rest: bytes, left: MOST };
    let mut replies = Vec::with_capacity(count.min(FORESEEN));
    while replies.len() < count {
        match reader.value(0)? {
            // Said by the server on its own.
            Value::Push(_) => {}
            reply => replies.push(reply),
        }
    }
    reader.rest.is_empty().then_some(replies)
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Values that there may be yet.
    left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        loop {
            self.left = self.left.checked_sub(1)?;
            let (kind, rest) = self.rest.split_first()?;
            self.rest = rest;
            let line = self.line()?;
            if *kind != b'|' {
                return self.rest_of(*kind, line, depth);
            }
            // Attributes of the value behind them, which nobody here has asked for.
            self.values(count(line)?.checked_mul(2)?, depth)?;
        }
    }

    fn rest_of(&mut self, kind: u8, line: &[u8], depth: usize) -> Option<Value> {
        let nothing = matches!(kind, b'$' | b'*') && line == b"-1";
        Some(match kind {
            _ if nothing => Value::Null,
            b'+' => Value::Status(text(line)),
            b'-' => Value::Error(ServerError::new(text(line))),
            b':' => Value::Integer(number(line)?),
            b'_' if line.is_empty() => Value::Null,
            b'#' if line == b"t" => Value::Boolean(true),
            b'#' if line == b"f" => Value::Boolean(false),
            b',' => Value::Double(std::str::from_utf8(line).ok()?.parse().ok()?),
            b'(' if is_big_number(line) => Value::BigNumber(text(line)),
            b'$' => Value::Bytes(self.bytes(count(line)?)?.to_vec()),
            b'!' => Value::Error(ServerError::new(text(self.bytes(count(line)?)?))),
            // Three letters that say what kind of text it is, and a colon.
            b'=' => Value::Bytes(self.bytes(count(line)?)?.get(4..)?.to_vec()),
            b'*' => Value::Array(self.values(count(line)?, depth)?),
            b'~' => Value::Set(self.values(count(line)?, depth)?),
            b'>' => Value::Push(self.values(count(line)?, depth)?),
            b'%' => {
                let count = count(line)?;
                let mut pairs = Vec::with_capacity(count.min(FORESEEN));
                let depth = deeper(depth)?;
                for _ in 0..count {
                    pairs.push((self.value(depth)?, self.value(depth)?));
                }
                Value::Map(pairs)
            }
            _ => return None,
        })
    }

    fn values(&mut self, count: usize, depth: usize) -> Option<Vec<Value>> {
        let depth = deeper(depth)?;
        let mut values = Vec::with_capacity(count.min(FORESEEN));
        for _ in 0..count {
            values.push(self.value(depth)?);
        }
        Some(values)
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        line.strip_suffix(b"\r")
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest.strip_prefix(b"\r\n")?;
        Some(bytes)
    }
}

fn deeper(depth: usize) -> Option<usize> {
    (depth < DEEPEST).then_some(depth + 1)
}

fn number(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

fn count(line: &[u8]) -> Option<usize> {
    usize::try_from(number(line)?).ok()
}

fn is_big_number(line: &[u8]) -> bool {
    let digits = line.strip_prefix(b"-").or_else(|| line.strip_prefix(b"+")).unwrap_or(line);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The commands that these bytes are, whole ones and nothing else; for the test kit.
#[cfg(not(target_arch = "wasm32"))]
pub fn commands(bytes: &[u8]) -> Option<Vec<Vec<Vec<u8>>>> {
    let mut reader = Reader { rest: bytes, left: MOST };
    let mut commands = Vec::new();
    while !reader.rest.is_empty() {
        let Value::Array(parts) = reader.value(0)? else { return None };
        let part = |part| match part {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        };
        commands.push(parts.into_iter().map(part).collect::<Option<Vec<_>>>()?);
    }
    commands.iter().all(|command| !command.is_empty()).then_some(commands)
}

/// Appends a reply, as RESP3 has it; for the test kit.
#[cfg(not(target_arch = "wasm32"))]
pub fn push_value(out: &mut Vec<u8>, value: &Value) {
    let mut line = |kind: char, line: &str| out.extend_from_slice(format!("{kind}{line}\r\n").as_bytes());
    let list = match value {
        Value::Null => return line('_', ""),
        Value::Integer(number) => return line(':', &number.to_string()),
        Value::Double(number) => return line(',', &number.to_string()),
        Value::Boolean(is) => return line('#', if *is { "t" } else { "f" }),
        Value::Status(text) => return line('+', &text.replace(['\r', '\n'], " ")),
        Value::BigNumber(digits) => return line('(', digits),
        Value::Error(error) => {
            push_head(out, b'!', error.text().len());
            out.extend_from_slice(error.text().as_bytes());
            return out.extend_from_slice(b"\r\n");
        }
        Value::Bytes(bytes) => return push_bytes(out, bytes),
        Value::Map(pairs) => {
            push_head(out, b'%', pairs.len());
            for (key, value) in pairs {
                push_value(out, key);
                push_value(out, value);
            }
            return;
        }
        Value::Array(values) => (b'*', values),
        Value::Set(values) => (b'~', values),
        Value::Push(values) => (b'>', values),
    };
    push_head(out, list.0, list.1.len());
    list.1.iter().for_each(|value| push_value(out, value));
}
