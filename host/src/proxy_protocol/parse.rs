//! From bytes to a verdict. No I/O; looks at all bytes anew each time, which costs nothing: a line is short, and of a
//! binary header only the first 16 bytes are looked at before it is complete.

use super::{Header, Invalid, v1, v2};

/// What a header may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a header, and most bytes read to find out. Default 4096; at least 107, the longest line of version
    /// 1, is used. The specification wants headers to fit into 536 bytes; clouds and certificates make them longer.
    pub header: usize,
    /// Most TLVs, those inside of `SSL` included. Default 64.
    pub tlvs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header: 4096, tlvs: 64 }
    }
}

impl Limits {
    /// [`Limits::header`], within what the protocol knows.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.header.clamp(v1::LONGEST, v2::FIXED + usize::from(u16::MAX))
    }
}

/// The verdict on the first bytes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Nothing can be said yet, and nothing else is wrong.
    Incomplete(Progress),
    /// Certainly not PROXY protocol: all bytes are payload.
    Absent,
    /// A header.
    Header {
        /// What it says.
        header: Header,
        /// Bytes that it takes; what follows is payload.
        length: usize,
    },
}

/// How far a header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Part of a signature: may be payload yet.
    Perhaps,
    /// A whole signature: what follows has to be a header.
    Begun,
}

/// Judges the first bytes of a connection. Every verdict but [`Parsed::Incomplete`] is final: more bytes do not change
/// it.
///
/// # Errors
/// [`Invalid`] as soon as bytes that begin with a signature cannot become a valid header within the limits.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, Invalid> {
    match (begins(bytes, v1::SIGNATURE), begins(bytes, v2::SIGNATURE)) {
        (Begins::Yes, _) => v1::parse(bytes),
        (_, Begins::Yes) => v2::parse(bytes, limits),
        (Begins::No, Begins::No) => Ok(Parsed::Absent),
        (Begins::Perhaps, _) | (_, Begins::Perhaps) => Ok(Parsed::Incomplete(Progress::Perhaps)),
    }
}

/// Whether bytes begin with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// They do.
    Yes,
    /// They are too few, and equal so far.
    Perhaps,
    /// They differ.
    No,
}

/// Whether `bytes` begin with `expected`.
pub(super) fn begins(bytes: &[u8], expected: &[u8]) -> Begins {
    if bytes.starts_with(expected) {
        Begins::Yes
    } else if expected.starts_with(bytes) {
        Begins::Perhaps
    } else {
        Begins::No
    }
}
