//! PROXY protocol, versions 1 and 2, in both directions.
//!
//! A proxy in front of us tells, in a header before the first byte of a connection, who its client is. The source is
//! `HAProxy`'s `doc/proxy-protocol.txt`; section numbers below are its own.
//!
//! [`parse`] is the core and does no I/O: bytes in, verdict out. [`accept`] and [`Acceptor`] read from a connection
//! until there is a verdict. [`encode_v1`] and [`encode_v2`] write headers for connections to upstreams.
//!
//! Invariants:
//! * A verdict is final: no byte that follows can change it, and it does not depend on how the bytes were cut into
//!   reads.
//! * "Not PROXY protocol" is said at the first byte that differs from both signatures. From there on all bytes are
//!   handed on.
//! * Whoever has begun with a whole signature must go on with a valid header, also where headers are optional: the
//!   rest is never taken for payload, so a broken header cannot pass for a direct connection.
//! * No more than [`Limits::header`] bytes are read, or kept.
//!
//! Why no crate: `ppp` 2.3 reports lines that can never become valid as incomplete (`PROXY\rT`) and verifies no
//! checksum. `proxy-header` 0.1 does not tell LOCAL from unknown, drops UNIX addresses, says nothing before 16 bytes
//! are there and verifies no checksum. It serves as a second opinion in the tests.
//!
//! A header is a claim. Whether the peer may make it is for the listener to decide (section 2: the receiver must not
//! guess whether a header is there on ports that the public can reach).

mod accept;
mod encode;
mod error;
mod header;
mod parse;
mod tlv;
mod v1;
mod v2;

pub use accept::{Acceptor, Mode, accept};
pub use encode::{Checksum, encode_v1, encode_v2};
pub use error::{EncodeError, Error, Invalid};
pub use header::{Endpoints, Header, Version};
pub use parse::{Limits, Parsed, Progress, parse};
pub use tlv::{Ssl, Tlv};

#[cfg(test)]
mod tests;
