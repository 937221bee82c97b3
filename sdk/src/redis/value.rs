//! Replies.

use super::error::{RedisError, ServerError};

/// A reply of RESP2 or RESP3.
///
/// RESP2 has fewer kinds: what is a map, a double or a boolean in RESP3 is a list, text or a number there. The accessors take either.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing: no such key.
    Null,
    /// A whole number.
    Integer(i64),
    /// A fraction (RESP3).
    Double(f64),
    /// Yes or no (RESP3).
    Boolean(bool),
    /// A word of the server: `OK`, `QUEUED`.
    Status(String),
    /// A string of bytes.
    Bytes(Vec<u8>),
    /// A number of any size, in digits (RESP3).
    BigNumber(String),
    /// A list.
    Array(Vec<Value>),
    /// Pairs, in the server's order (RESP3).
    Map(Vec<(Value, Value)>),
    /// Different ones, in the server's order (RESP3).
    Set(Vec<Value>),
    /// Something that nobody asked for, inside of a reply (RESP3).
    Push(Vec<Value>),
    /// An error.
    Error(ServerError),
}

impl Value {
    /// `OK`.
    #[must_use]
    pub fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    /// An error that says this, its code first: `WRONGTYPE Operation against ...`.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(ServerError::new(text))
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Text and bytes of every kind.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Status(text) | Self::BigNumber(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The same, where it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// A whole number, also one that is written as text; of a boolean 0 or 1.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Boolean(is) => Some(i64::from(*is)),
            text => text.as_str()?.parse().ok(),
        }
    }

    /// A number, also one that is written as text.
    #[must_use]
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "asked for")]
            Self::Integer(number) => Some(*number as f64),
            text => text.as_str()?.parse().ok(),
        }
    }

    /// The values of a list or a set.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) | Self::Set(values) | Self::Push(values) => Some(values),
            _ => None,
        }
    }

    /// The pairs of a map; of a list (RESP2), what stands at even places with what follows it.
    #[must_use]
    pub fn as_map(&self) -> Option<Vec<(&Self, &Self)>> {
        match self {
            Self::Map(pairs) => Some(pairs.iter().map(|(key, value)| (key, value)).collect()),
            Self::Array(values) => {
                let (pairs, rest) = values.as_chunks::<2>();
                rest.is_empty().then(|| pairs.iter().map(|[key, value]| (key, value)).collect())
            }
            _ => None,
        }
    }

    /// The error, if it is one.
    #[must_use]
    pub const fn as_error(&self) -> Option<&ServerError> {
        match self {
            Self::Error(error) => Some(error),
            _ => None,
        }
    }

    /// Itself, unless it is an error.
    ///
    /// # Errors
    /// [`RedisError::Server`] or [`RedisError::Unavailable`], if it is one.
    pub fn into_result(self) -> Result<Self, RedisError> {
        match self {
            Self::Error(error) => Err(RedisError::said(error)),
            value => Ok(value),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<Self>> for Value {
    fn from(values: Vec<Self>) -> Self {
        Self::Array(values)
    }
}

/// Nothing is [`Value::Null`].
impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
