//! What a tag may be.

use std::borrow::Cow;

/// A value for a tag: text, a whole number, yes or no, or a number. Bytes are text; what is not UTF-8 in them becomes U+FFFD.
///
/// Hosts cut long text, at a length of their own.
pub trait Tag {
    /// Appends the kind and the value, as `fyke.span.tag.v1` has them.
    #[doc(hidden)]
    fn encode(&self, out: &mut Vec<u8>);
}

const TEXT: u8 = 0;
const INTEGER: u8 = 1;
const BOOLEAN: u8 = 2;
const NUMBER: u8 = 3;

impl Tag for str {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(TEXT);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Tag for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }
}

impl Tag for Cow<'_, str> {
    fn encode(&self, out: &mut Vec<u8>) {
        str::encode(self, out);
    }
}

impl Tag for [u8] {
    fn encode(&self, out: &mut Vec<u8>) {
        String::from_utf8_lossy(self).encode(out);
    }
}

impl Tag for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_slice().encode(out);
    }
}

impl Tag for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[BOOLEAN, u8::from(*self)]);
    }
}

impl Tag for f64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(NUMBER);
        out.extend_from_slice(&self.to_le_bytes());
    }
}

impl<T: Tag + ?Sized> Tag for &T {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }
}

macro_rules! integers {
    ($($type:ty)*) => {
        $(impl Tag for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(INTEGER);
                // What is too large for the ABI is the most there is.
                out.extend_from_slice(&i64::try_from(*self).unwrap_or(i64::MAX).to_le_bytes());
            }
        })*
    };
}

integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);
