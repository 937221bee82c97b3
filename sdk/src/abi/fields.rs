//! Arguments of foreign functions: little-endian integers, and bytes behind their length.

use super::BufferKind;

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    pub fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let mut rest = *self;
        let length = usize::try_from(rest.u32()?).ok()?;
        let (value, rest) = rest.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }

    pub fn text(&mut self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub const fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Appends bytes behind their length.
pub(crate) fn push_field(arguments: &mut Vec<u8>, bytes: &[u8]) {
    arguments.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    arguments.extend_from_slice(bytes);
}

/// What the host says with the `proxy_on_foreign_function` that runs.
pub(crate) fn foreign_arguments(size: usize) -> Vec<u8> {
    if size == 0 {
        return Vec::new();
    }
    super::buffer(BufferKind::ForeignArguments, 0, size).unwrap_or_default()
}
