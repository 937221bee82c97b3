//! What can be wrong with a PROXY protocol header.

use std::io;

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A header is required and the connection begins with something else. How many bytes it took to know.
    #[error("the connection does not begin with a PROXY protocol header ({read} bytes read)")]
    Missing {
        /// Bytes that were read.
        read: usize,
    },
    /// The peer closed before its header was complete.
    #[error("the connection ended inside of its PROXY protocol header, after {read} bytes")]
    Truncated {
        /// Bytes that were read.
        read: usize,
    },
    /// The header breaks the specification, or a limit.
    #[error("invalid PROXY protocol header: {0}")]
    Invalid(#[from] Invalid),
    /// The connection failed.
    #[error("cannot read a PROXY protocol header: {0}")]
    Read(#[from] io::Error),
}

/// How a header breaks the specification, or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// More bytes than the version, or the limit, allows. For version 1: no end of line in as many bytes.
    #[error("it is {length} bytes long or longer; at most {limit} are accepted")]
    TooLong {
        /// Stated by the header, or seen so far.
        length: usize,
        /// What is accepted.
        limit: usize,
    },
    /// Version 1: neither `TCP4`, `TCP6` nor `UNKNOWN`.
    #[error("version 1 knows the protocols TCP4, TCP6 and UNKNOWN only")]
    Protocol,
    /// Version 1: the line has other characters, another end, or another number of fields.
    #[error("the line is not of the form `PROXY TCP4 SOURCE DESTINATION PORT PORT` with CR LF at its end")]
    Line,
    /// Version 1: an address that is not canonical, or not of the stated family.
    #[error("an address is not a canonical address of the stated family")]
    Address,
    /// Version 1: not a number up to 65535, or one with leading zeros.
    #[error("a port is not a plain number up to 65535")]
    Port,
    /// Version 2: the 13th byte states another version.
    #[error("the binary header states version {0}, not 2")]
    Version(u8),
    /// Version 2: a command that is not assigned.
    #[error("unassigned command {0}")]
    Command(u8),
    /// Version 2: a family or a transport that is not assigned.
    #[error("unassigned address family or transport 0x{0:02x}")]
    Family(u8),
    /// Version 2: the block is too short for addresses of the stated family.
    #[error("{length} bytes are too few for addresses of the stated family, which need {needed}")]
    ShortAddresses {
        /// Stated by the header.
        length: usize,
        /// What the family needs.
        needed: usize,
    },
    /// Version 2: a value that reaches beyond the header.
    #[error("a TLV reaches beyond the end of the header")]
    TlvLength,
    /// Version 2: a value that its type forbids.
    #[error("the value of TLV type 0x{0:02x} is malformed")]
    TlvValue(u8),
    /// Version 2: more values than the limit allows, those inside of `SSL` included.
    #[error("more than {0} TLVs")]
    TooManyTlvs(usize),
    /// Version 2: the checksum is there and wrong.
    #[error("checksum 0x{stated:08x} is stated and 0x{computed:08x} is right")]
    Checksum {
        /// In the header.
        stated: u32,
        /// Of the header.
        computed: u32,
    },
}

/// Why a header cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More than a length field can state.
    #[error("{0} bytes do not fit into a length of 16 bits")]
    TooLong(usize),
    /// UNIX paths have at most 108 bytes.
    #[error("a UNIX path of {0} bytes; at most 108 fit")]
    Path(usize),
    /// [`super::Tlv::Other`] with a type that has a meaning of its own here.
    #[error("TLV type 0x{0:02x} has its own variant, or is written by the encoder")]
    Reserved(u8),
}
