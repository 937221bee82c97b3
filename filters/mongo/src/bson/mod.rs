//! BSON, read in place: types, the sizes of values, and what a value is once somebody wants it.
//!
//! [`walk`] goes through a document that arrives in pieces and keeps nothing of what nobody asks for, [`read`] through one that is there as a whole; [`print`] writes the beginning of
//! one as JSON; [`write`] makes small documents. All lengths are checked against what is around them, and nothing recurses.

pub mod print;
pub mod read;
pub mod walk;
pub mod write;

/// Types of values, as bytes of the format (<https://bsonspec.org/spec.html>).
pub mod kind {
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0a;
    pub const REGEX: u8 = 0x0b;
    pub const POINTER: u8 = 0x0c;
    pub const CODE: u8 = 0x0d;
    pub const SYMBOL: u8 = 0x0e;
    pub const SCOPED_CODE: u8 = 0x0f;
    pub const INT32: u8 = 0x10;
    pub const TIMESTAMP: u8 = 0x11;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL: u8 = 0x13;
    pub const MAX_KEY: u8 = 0x7f;
    pub const MIN_KEY: u8 = 0xff;
}

/// The shortest document: its length and its end.
pub const SHORTEST: usize = 5;

/// Why a document cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A length that is negative, too short, or goes beyond what is around it.
    Length,
    /// A type that there is none of.
    Kind,
    /// A document that does not end where it should.
    End,
}

impl Broken {
    /// In a word, for logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Length => "bson_length",
            Self::Kind => "bson_type",
            Self::End => "bson_end",
        }
    }
}

/// How long a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Always so many bytes.
    Fixed(usize),
    /// Four bytes say it; so many bytes come on top.
    Prefixed(usize),
    /// Two texts, each ended by a zero.
    Texts,
}

/// How long a value of a type is.
///
/// # Errors
/// There is no such type.
pub const fn size(kind: u8) -> Result<Size, Broken> {
    Ok(match kind {
        kind::UNDEFINED | kind::NULL | kind::MAX_KEY | kind::MIN_KEY => Size::Fixed(0),
        kind::BOOLEAN => Size::Fixed(1),
        kind::INT32 => Size::Fixed(4),
        kind::DOUBLE | kind::DATE | kind::TIMESTAMP | kind::INT64 => Size::Fixed(8),
        kind::OBJECT_ID => Size::Fixed(12),
        kind::DECIMAL => Size::Fixed(16),
        kind::STRING | kind::CODE | kind::SYMBOL => Size::Prefixed(4),
        kind::BINARY => Size::Prefixed(5),
        kind::POINTER => Size::Prefixed(16),
        // Their length counts its own four bytes.
        kind::DOCUMENT | kind::ARRAY | kind::SCOPED_CODE => Size::Prefixed(0),
        kind::REGEX => Size::Texts,
        _ => return Err(Broken::Kind),
    })
}

/// How long a value is as a whole, by its first four bytes.
///
/// # Errors
/// The length is none that such a value can have.
pub fn prefixed(kind: u8, extra: usize, length: i32) -> Result<usize, Broken> {
    let length = usize::try_from(length).map_err(|_| Broken::Length)?;
    let shortest = match kind {
        kind::DOCUMENT | kind::ARRAY => SHORTEST,
        // Its own length, a text's, the text's zero, a document.
        kind::SCOPED_CODE => 14,
        kind::BINARY => 0,
        _ => 1,
    };
    if length < shortest { Err(Broken::Length) } else { length.checked_add(extra).ok_or(Broken::Length) }
}

/// A value that somebody wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Text, without its zero. Not checked to be UTF-8.
    Text(&'a [u8]),
    /// A whole number.
    Integer(i64),
    /// A number.
    Double(f64),
    /// True or false.
    Boolean(bool),
    /// Bytes, whatever their subtype.
    Binary(&'a [u8]),
    /// An ObjectId.
    ObjectId([u8; 12]),
    /// A document, whole with its length. Walks go into one instead.
    Document(&'a [u8]),
    /// An array, likewise.
    Array(&'a [u8]),
    /// Something else, of this type.
    Other(u8),
}

impl<'a> Value<'a> {
    /// Of a whole value's bytes.
    pub(crate) fn read(kind: u8, bytes: &'a [u8]) -> Self {
        let read = || {
            Some(match kind {
                kind::STRING | kind::SYMBOL => Self::Text(bytes.get(4..bytes.len().checked_sub(1)?)?),
                kind::INT32 => Self::Integer(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))),
                kind::INT64 => Self::Integer(i64::from_le_bytes(bytes.try_into().ok()?)),
                kind::DOUBLE => Self::Double(f64::from_le_bytes(bytes.try_into().ok()?)),
                kind::BOOLEAN => Self::Boolean(*bytes.first()? != 0),
                kind::BINARY => Self::Binary(bytes.get(5..)?),
                kind::OBJECT_ID => Self::ObjectId(bytes.try_into().ok()?),
                kind::DOCUMENT => Self::Document(bytes),
                kind::ARRAY => Self::Array(bytes),
                _ => return None,
            })
        };
        read().unwrap_or(Self::Other(kind))
    }

    /// Text, if it is some.
    #[must_use]
    pub const fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text that is UTF-8.
    #[must_use]
    pub fn str(self) -> Option<&'a str> {
        std::str::from_utf8(self.text()?).ok()
    }

    /// Bytes, if it is some.
    #[must_use]
    pub const fn binary(self) -> Option<&'a [u8]> {
        match self {
            Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// An ObjectId, if it is one.
    #[must_use]
    pub const fn object_id(self) -> Option<[u8; 12]> {
        match self {
            Self::ObjectId(id) => Some(id),
            _ => None,
        }
    }

    /// A whole number, as MongoDB takes one: doubles count too, and booleans.
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(number),
            // Saturates, and what is no number is zero.
            Self::Double(number) => Some(number as i64),
            Self::Boolean(yes) => Some(i64::from(yes)),
            _ => None,
        }
    }

    /// Whether MongoDB takes it for true.
    #[must_use]
    pub fn is_true(self) -> bool {
        match self {
            Self::Boolean(yes) => yes,
            Self::Integer(number) => number != 0,
            Self::Double(number) => number != 0.0,
            _ => false,
        }
    }
}

/// The four bytes at `at`.
#[must_use]
pub fn int32(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes))
}

/// The eight bytes at `at`.
#[must_use]
pub fn int64(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes))
}
