//! How bytes of strangers get into a line.

/// As nginx does: quotes, backslashes, control characters and everything beyond ASCII become `\xHH`, so that nobody can end a
/// line, close a quoted field or paint a terminal.
pub fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                out.extend_from_slice(b"\\x");
                out.extend([byte >> 4, byte & 0xf].map(
                    |digit| {
                        if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }
                    },
                ));
            }
            plain => out.push(*plain),
        }
    }
}

/// As the inside of a JSON string. What is not UTF-8 becomes U+FFFD.
pub fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                // Control characters, and the two that end lines in JavaScript.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    let code = u32::from(c);
                    out.extend_from_slice(b"\\u");
                    out.extend(
                        [12, 8, 4, 0]
                            .map(|shift| char::from_digit((code >> shift) & 0xf, 16).map_or(b'0', |digit| digit as u8)),
                    );
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_on_its_line() {
        let mut out = Vec::new();
        text(&mut out, "a\n\"\\\u{7f}é".as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), r"a\x0A\x22\x5C\x7F\xC3\xA9");
    }

    #[test]
    fn json_reads_back() {
        let mut out = vec![b'"'];
        json(&mut out, "a\n\r\t\"\\\u{1}\u{85}\u{2028}é😀".as_bytes());
        json(&mut out, b"\xff");
        out.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), "a\n\r\t\"\\\u{1}\u{85}\u{2028}é😀\u{fffd}");
        assert!(!out.contains(&b'\n'));
    }
}
