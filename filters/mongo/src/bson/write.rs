//! Makes BSON documents.
//!
//! A [`Document`] is written front to back into one buffer; nested documents and arrays are written by closures into
//! buffers of their own. Only the types that our replies and commands have are here. Nothing fails: a NUL inside of a
//! field's name, which the format cannot express, ends the name there.

use super::kind;

/// A BSON document under construction. Field order is the order of the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Four bytes of length, filled in by [`Document::finish`], then the elements.
    bytes: Vec<u8>,
}

/// A BSON array under construction: a document whose names are "0", "1", ...
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Array {
    document: Document,
    next: usize,
}

impl Default for Document {
    fn default() -> Self {
        Self { bytes: vec![0; 4] }
    }
}

impl Document {
    /// An empty document.
    pub fn new() -> Self {
        Self::default()
    }

    /// A 64-bit floating point number; MongoDB's own `ok` is one.
    pub fn double(&mut self, name: &str, value: f64) -> &mut Self {
        self.element(kind::DOUBLE, name, &value.to_le_bytes())
    }

    /// A string.
    pub fn string(&mut self, name: &str, value: &str) -> &mut Self {
        self.begin(kind::STRING, name);
        self.bytes.extend_from_slice(&length_prefix(value.len().saturating_add(1)));
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self
    }

    /// An embedded document that the closure writes.
    pub fn document(&mut self, name: &str, write: impl FnOnce(&mut Document)) -> &mut Self {
        let mut inner = Document::new();
        write(&mut inner);
        self.element(kind::DOCUMENT, name, &inner.finish())
    }

    /// An embedded document that is complete already. The bytes are not checked.
    pub fn raw_document(&mut self, name: &str, document: &[u8]) -> &mut Self {
        self.element(kind::DOCUMENT, name, document)
    }

    /// An array that the closure writes.
    pub fn array(&mut self, name: &str, write: impl FnOnce(&mut Array)) -> &mut Self {
        let mut inner = Array::default();
        write(&mut inner);
        self.element(kind::ARRAY, name, &inner.document.finish())
    }

    /// Bytes of the generic subtype 0.
    pub fn binary(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.binary_of(name, 0, value)
    }

    /// Bytes of a given subtype; 4 is a UUID.
    pub fn binary_of(&mut self, name: &str, subtype: u8, value: &[u8]) -> &mut Self {
        self.begin(kind::BINARY, name);
        self.bytes.extend_from_slice(&length_prefix(value.len()));
        self.bytes.push(subtype);
        self.bytes.extend_from_slice(value);
        self
    }

    /// An ObjectId.
    pub fn object_id(&mut self, name: &str, value: [u8; 12]) -> &mut Self {
        self.element(kind::OBJECT_ID, name, &value)
    }

    /// A truth value.
    pub fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.element(kind::BOOLEAN, name, &[u8::from(value)])
    }

    /// A UTC date in milliseconds since 1970.
    pub fn datetime(&mut self, name: &str, milliseconds: i64) -> &mut Self {
        self.element(kind::DATE, name, &milliseconds.to_le_bytes())
    }

    /// A 32-bit integer.
    pub fn int32(&mut self, name: &str, value: i32) -> &mut Self {
        self.element(kind::INT32, name, &value.to_le_bytes())
    }

    /// A 64-bit integer.
    #[cfg(test)]
    pub fn int64(&mut self, name: &str, value: i64) -> &mut Self {
        self.element(kind::INT64, name, &value.to_le_bytes())
    }

    /// The finished document with its length and its terminating zero.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        let length = length_prefix(self.bytes.len());
        if let Some(prefix) = self.bytes.first_chunk_mut::<4>() {
            *prefix = length;
        }
        self.bytes
    }

    fn element(&mut self, kind: u8, name: &str, value: &[u8]) -> &mut Self {
        self.begin(kind, name);
        self.bytes.extend_from_slice(value);
        self
    }

    fn begin(&mut self, kind: u8, name: &str) {
        self.bytes.push(kind);
        self.bytes.extend(name.bytes().take_while(|byte| *byte != 0));
        self.bytes.push(0);
    }
}

impl Array {
    /// Appends a string.
    pub fn string(&mut self, value: &str) -> &mut Self {
        let name = self.name();
        self.document.string(&name, value);
        self
    }

    /// Appends a 64-bit integer.
    #[cfg(test)]
    pub fn int64(&mut self, value: i64) -> &mut Self {
        let name = self.name();
        self.document.int64(&name, value);
        self
    }

    /// Appends a document that the closure writes.
    #[cfg(test)]
    pub fn document(&mut self, write: impl FnOnce(&mut Document)) -> &mut Self {
        let name = self.name();
        self.document.document(&name, write);
        self
    }

    fn name(&mut self) -> String {
        let name = self.next.to_string();
        self.next = self.next.saturating_add(1);
        name
    }
}

/// A length as BSON writes it. What we write is far below 2 GiB; the bound only keeps the conversion total.
fn length_prefix(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_example_of_the_specification() {
        let mut document = Document::new();
        document.string("hello", "world");
        assert_eq!(document.finish(), b"\x16\x00\x00\x00\x02hello\x00\x06\x00\x00\x00world\x00\x00");
    }

    #[test]
    fn arrays_count_their_elements() {
        let mut document = Document::new();
        document.array("a", |a| {
            a.string("x").int64(1);
        });
        assert_eq!(
            document.finish(),
            b"\x21\x00\x00\x00\x04a\x00\x19\x00\x00\x00\x020\x00\x02\x00\x00\x00x\x00\x121\x00\x01\0\0\0\0\0\0\0\x00\x00"
        );
    }

    #[test]
    fn a_name_ends_at_a_nul() {
        let mut document = Document::new();
        document.bool("a\0b", true);
        assert_eq!(document.finish(), b"\x09\x00\x00\x00\x08a\x00\x01\x00");
    }
}
