//! MongoDB's wire protocol: messages with a 16-byte header of length, requestID, responseTo and opcode, all little endian.
//!
//! Reading is strict where real servers are strict, so that a proxy which damages a message is found out: lengths in bounds,
//! every byte of a message used, checksums checked, unknown required flags refused.

mod compression;
mod framer;
mod message;
#[cfg(test)]
mod tests;

pub use compression::Compressor;
pub(crate) use framer::Framer;
pub(crate) use message::{Incoming, Outgoing, encode, parse};

/// Longest message, in bytes, header included (`maxMessageSizeBytes`).
pub const MAX_MESSAGE: usize = 48_000_000;
/// Longest document that is stored, in bytes (`maxBsonObjectSize`).
pub const MAX_DOCUMENT: usize = 16 * 1024 * 1024;
/// Length of a header, in bytes.
pub const HEADER: usize = 16;

pub(crate) const OP_REPLY: i32 = 1;
pub(crate) const OP_QUERY: i32 = 2004;
pub(crate) const OP_COMPRESSED: i32 = 2012;
pub(crate) const OP_MSG: i32 = 2013;

pub(crate) const CHECKSUM_PRESENT: u32 = 1;
pub(crate) const MORE_TO_COME: u32 = 1 << 1;
pub(crate) const EXHAUST_ALLOWED: u32 = 1 << 16;

/// Why a message could not be read. The connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError(pub String);

impl std::fmt::Display for WireError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for WireError {}

/// Shorthand for errors.
pub(crate) fn wire_error<T>(message: impl Into<String>) -> Result<T, WireError> {
    Err(WireError(message.into()))
}

/// The little-endian integer at `at`.
pub(crate) fn int32(bytes: &[u8], at: usize) -> Result<i32, WireError> {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(chunk) => Ok(i32::from_le_bytes(*chunk)),
        None => wire_error("message is cut short"),
    }
}
