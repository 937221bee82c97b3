//! One form for what is written (JSON and YAML, proto3's mapping) and for what is sent (protobuf), so that it is
//! translated by the same code:
//!
//! - fields have the names of the `.proto` file; enumerators are names, 64-bit integers numbers, durations `1.5s`, bytes base64;
//! - a field without presence that has its default is not there; wrappers are their values; `Struct` is plain JSON;
//! - `Any` is its message with `@type`, the message's full name; a `TypedStruct` is the message that it stands for;
//! - what cannot be read stays, so that whoever translates can say where it is: an unknown field under `?` and its name,
//!   a value that does not fit as `{"?": "why"}`. `Reader` knows them.

mod binary;
mod json;
mod scalar;
mod well_known;

use serde_json::{Map, Value};

use crate::schema::Schema;

pub(crate) use well_known::{parse_duration, print_duration};

/// As deep as protobuf's own readers go.
const DEEPEST: usize = 100;
/// The key of the type in an `Any`.
pub(crate) const TYPE: &str = "@type";
/// What the key of something that cannot be read begins with.
pub(crate) const BROKEN: &str = "?";

/// A value in place of one that does not fit.
fn broken(reason: impl Into<String>) -> Value {
    let mut object = Map::new();
    object.insert(BROKEN.to_owned(), Value::String(reason.into()));
    Value::Object(object)
}

fn too_deep() -> Value {
    broken(format!("nested deeper than {DEEPEST} levels"))
}

/// The message that a value in JSON form is. An unknown `message` leaves it as it is.
pub(crate) fn from_json(schema: &Schema, message: &str, value: Value) -> Value {
    match schema.message(message) {
        Some(descriptor) => json::Json { schema }.message(&descriptor, value, 0),
        None => value,
    }
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Undecodable {
    /// No message is called so.
    #[error("the type {0:?} is not known")]
    UnknownType(String),
    /// They are not protobuf, or not this message.
    #[error("not a message of type {message}: {reason}")]
    Malformed {
        /// The message's name.
        message: String,
        /// What the reader says.
        reason: String,
    },
}

/// The message that bytes are, by its type URL or name.
///
/// # Errors
/// The type is not known, or the bytes are malformed. What is malformed inside of an `Any` is marked in the value.
pub(crate) fn from_bytes(schema: &Schema, type_url: &str, bytes: &[u8]) -> Result<Value, Undecodable> {
    binary::Binary { schema }.typed(type_url, bytes, 0)
}
