//! The beginning of a document as JSON: its shape, with or without its values.

use data_encoding::HEXLOWER;

use super::read::texts;
use super::{Size, Value, int32, kind, prefixed, size};
use crate::json;

/// Documents inside of each other that are written; deeper ones are `{…}`.
const DEPTH: usize = 16;
/// What stands where the bytes end before the document does.
const CUT: &[u8] = "\"…\":\"…\"".as_bytes();

/// Appends a document of which the first bytes are here. Without `values`, every value is `?`: names of fields, operators and the shape remain.
pub fn document(out: &mut Vec<u8>, bytes: &[u8], values: bool) {
    let mut arrays = [false; DEPTH];
    let mut depth = 0;
    let mut rest = bytes.get(4..).unwrap_or_default();
    out.push(b'{');
    let mut is_first = true;
    loop {
        let is_array = arrays.get(depth).copied().unwrap_or_default();
        let Some((kind, after)) = rest.split_first() else { break };
        if *kind == 0 {
            out.push(if is_array { b']' } else { b'}' });
            rest = after;
            match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return,
            }
            is_first = false;
            continue;
        }
        let Some(end) = after.iter().position(|byte| *byte == 0) else { break };
        let (Some(name), Some(value)) = (after.get(..end), after.get(end + 1..)) else { break };
        let whole = match size(*kind) {
            Ok(Size::Fixed(length)) => Some(length),
            Ok(Size::Prefixed(extra)) => int32(value, 0).and_then(|length| prefixed(*kind, extra, length).ok()),
            Ok(Size::Texts) => texts(value),
            Err(_) => None,
        };
        let Some(whole) = whole else { break };
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        if !is_array {
            json::text(out, name);
            out.push(b':');
        }
        let is_inner = matches!(*kind, kind::DOCUMENT | kind::ARRAY);
        if is_inner && depth + 1 < DEPTH {
            depth += 1;
            if let Some(place) = arrays.get_mut(depth) {
                *place = *kind == kind::ARRAY;
            }
            out.push(if *kind == kind::ARRAY { b'[' } else { b'{' });
            is_first = true;
            rest = value.get(4..).unwrap_or_default();
            continue;
        }
        match value.get(..whole) {
            Some(value) if values && !is_inner => scalar(out, *kind, value),
            _ => out.extend_from_slice(if is_inner { "\"{…}\"".as_bytes() } else { b"\"?\"" }),
        }
        rest = value.get(whole..).unwrap_or_default();
    }
    // It was cut: whatever is open is closed.
    loop {
        let is_array = arrays.get(depth).copied().unwrap_or_default();
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        out.extend_from_slice(if is_array { "\"…\"".as_bytes() } else { CUT });
        out.push(if is_array { b']' } else { b'}' });
        match depth.checked_sub(1) {
            Some(outer) => depth = outer,
            None => return,
        }
    }
}

fn scalar(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    match Value::read(kind, bytes) {
        Value::Text(text) => json::text(out, text),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Double(number) if number.is_finite() => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Double(_) => out.extend_from_slice(b"null"),
        Value::Boolean(yes) => out.extend_from_slice(if yes { b"true" } else { b"false" }),
        Value::Other(kind::NULL | kind::UNDEFINED) => out.extend_from_slice(b"null"),
        Value::ObjectId(id) => {
            out.extend_from_slice(format!("\"ObjectId({})\"", HEXLOWER.encode(&id)).as_bytes());
        }
        Value::Other(kind::DATE) => {
            let milliseconds = bytes.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes));
            out.extend_from_slice(format!("\"Date({milliseconds})\"").as_bytes());
        }
        Value::Binary(bytes) => out.extend_from_slice(format!("\"Binary({})\"", bytes.len()).as_bytes()),
        Value::Document(_) | Value::Array(_) => out.extend_from_slice(b"\"?\""),
        Value::Other(kind) => out.extend_from_slice(format!("\"BSON({kind})\"").as_bytes()),
    }
}
