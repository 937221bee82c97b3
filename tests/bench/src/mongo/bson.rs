//! As much of BSON as fixed messages need.

/// A document that is being written.
#[derive(Default)]
pub struct Document(Vec<u8>);

impl Document {
    fn element(mut self, kind: u8, name: &str, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.0.extend_from_slice(value);
        self
    }

    /// Text.
    pub fn string(self, name: &str, value: &str) -> Self {
        let mut bytes = length(value.len() + 1).to_vec();
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.element(0x02, name, &bytes)
    }

    /// A whole number of 32 bits.
    pub fn int32(self, name: &str, value: i32) -> Self {
        self.element(0x10, name, &value.to_le_bytes())
    }

    /// A whole number of 64 bits.
    pub fn int64(self, name: &str, value: i64) -> Self {
        self.element(0x12, name, &value.to_le_bytes())
    }

    /// A number.
    pub fn double(self, name: &str, value: f64) -> Self {
        self.element(0x01, name, &value.to_le_bytes())
    }

    /// Yes or no.
    pub fn boolean(self, name: &str, value: bool) -> Self {
        self.element(0x08, name, &[u8::from(value)])
    }

    /// Bytes of this subtype.
    pub fn binary(self, name: &str, subtype: u8, value: &[u8]) -> Self {
        let mut bytes = length(value.len()).to_vec();
        bytes.push(subtype);
        bytes.extend_from_slice(value);
        self.element(0x05, name, &bytes)
    }

    /// A document inside of it.
    pub fn document(self, name: &str, value: Self) -> Self {
        self.element(0x03, name, &value.finish())
    }

    /// A list of one document.
    pub fn list_of_one(self, name: &str, value: Self) -> Self {
        let list = Self::default().document("0", value);
        self.element(0x04, name, &list.finish())
    }

    /// Its bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut out = length(self.0.len() + 5).to_vec();
        out.extend_from_slice(&self.0);
        out.push(0);
        out
    }
}

/// As all lengths are written.
pub fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}
