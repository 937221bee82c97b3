//! JSON of bytes of strangers: one line, and one value.

/// Appends text in its quotes. What is not UTF-8 becomes U+FFFD.
pub fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                // Control characters, and the two that end lines in JavaScript.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    let code = u32::from(c);
                    out.extend_from_slice(b"\\u");
                    let digits = [12, 8, 4, 0].map(|shift| char::from_digit((code >> shift) & 0xf, 16));
                    out.extend(digits.map(|digit| digit.map_or(b'0', |digit| digit as u8)));
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// An object being written.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Object<'a> {
    /// Begins one.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_first: true }
    }

    /// A key, whose value the caller appends.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        text(self.out, key.as_bytes());
        self.out.push(b':');
        self.out
    }

    /// Text; empty text is left out.
    pub fn text(&mut self, key: &str, value: &[u8]) {
        if !value.is_empty() {
            text(self.key(key), value);
        }
    }

    /// A list of texts.
    pub fn texts<'t>(&mut self, key: &str, values: impl IntoIterator<Item = &'t str>) {
        let out = self.key(key);
        out.push(b'[');
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            text(out, value.as_bytes());
        }
        out.push(b']');
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        self.key(key).extend_from_slice(value.as_bytes());
    }

    /// Ends it.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back_and_stays_on_its_line() {
        let mut out = Vec::new();
        text(&mut out, "a\n\r\t\"\\\u{1}\u{85}\u{2028}é😀".as_bytes());
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), "a\n\r\t\"\\\u{1}\u{85}\u{2028}é😀");
        assert!(!out.contains(&b'\n'));
        out.clear();
        text(&mut out, b"\xff");
        assert_eq!(out, "\"\u{fffd}\"".as_bytes());
    }
}
