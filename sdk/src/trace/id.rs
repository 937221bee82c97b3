//! Ids of traces and spans: bytes that are not all zero, written in lower-case hexadecimal digits.

use std::fmt;

use crate::random;

/// The id of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The id of a span.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($name:ident, $bytes:literal, $digits:literal) => {
        impl $name {
            #[doc = concat!("Of ", stringify!($bytes), " bytes; `None` when all of them are zero.")]
            #[must_use]
            pub fn new(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// A new one, of the host's randomness.
            #[must_use]
            pub fn random() -> Self {
                let mut bytes = [0; $bytes];
                random::fill(&mut bytes);
                if let (true, Some(last)) = (bytes == [0; $bytes], bytes.last_mut()) {
                    // Not allowed, and what a host without randomness gives.
                    *last = 1;
                }
                Self(bytes)
            }

            #[doc = concat!("Reads exactly ", stringify!($digits), " hexadecimal digits in lower case.")]
            #[must_use]
            pub fn parse(digits: &[u8]) -> Option<Self> {
                let mut bytes = [0; $bytes];
                decode(digits, &mut bytes)?;
                Self::new(bytes)
            }

            /// The digits that it is written with.
            #[must_use]
            pub fn digits(self) -> [u8; $digits] {
                encode(self.0)
            }

            /// The bytes.
            #[must_use]
            pub fn bytes(self) -> [u8; $bytes] {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(TraceId, 16, 32);
id!(SpanId, 8, 16);

fn encode<const BYTES: usize, const DIGITS: usize>(bytes: [u8; BYTES]) -> [u8; DIGITS] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; DIGITS];
    let digit = |value: u8| HEX.get(usize::from(value & 0xf)).copied().unwrap_or_default();
    for (byte, pair) in bytes.iter().zip(digits.as_chunks_mut().0) {
        *pair = [digit(byte >> 4), digit(*byte)];
    }
    digits
}

fn decode(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    if digits.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0, |sum, digit| Some((sum << 4) | value(*digit)?))?;
    }
    Some(())
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
