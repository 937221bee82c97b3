//! The wire protocol: messages in a stream of bytes that is cut anywhere.
//!
//! [`frames`] finds messages and hands their bytes to [`body`], which knows what each kind of message is made of and lets a
//! [`Walker`](crate::bson::walk::Walker) through its documents; [`inflate`] makes the beginning of a compressed message readable.
//! Nothing is kept of a message but what a [`Content`] keeps, and a few bytes where a cut goes through something that is looked at whole.
//!
//! Source: the specification of the wire protocol in MongoDB's manual, and for OP_MSG and OP_COMPRESSED the specifications for drivers
//! (github.com/mongodb/specifications, `source/message/OP_MSG.md` and `source/compression/OP_COMPRESSED.md`).

pub mod body;
pub mod frames;
pub mod inflate;
pub mod input;
pub mod snappy;
pub mod write;

use crate::bson::{Broken, int32, walk::Visit};

/// Bytes of a message's header.
pub const HEADER: usize = 16;
/// The longest message there may be, in bytes: MongoDB's `maxMessageSizeBytes`.
pub const LONGEST: usize = 48_000_000;

/// Kinds of messages.
pub mod opcode {
    pub const REPLY: i32 = 1;
    pub const UPDATE: i32 = 2001;
    pub const INSERT: i32 = 2002;
    pub const QUERY: i32 = 2004;
    pub const GET_MORE: i32 = 2005;
    pub const DELETE: i32 = 2006;
    pub const KILL_CURSORS: i32 = 2007;
    /// Of MongoDB 3.2 to 4.0, between its own servers; counted, not read.
    pub const COMMAND: i32 = 2010;
    pub const COMMAND_REPLY: i32 = 2011;
    pub const COMPRESSED: i32 = 2012;
    pub const MSG: i32 = 2013;
}

/// Flags of OP_MSG.
pub mod flag {
    /// A checksum is behind the last section.
    pub const CHECKSUM: u32 = 1;
    /// Another message follows, which asks for nothing: no reply to this one (request), or more replies (reply).
    pub const MORE_TO_COME: u32 = 1 << 1;
    /// The client takes several replies.
    pub const EXHAUST_ALLOWED: u32 = 1 << 16;
    /// Who does not know one of these must not read the message.
    pub const REQUIRED: u32 = 0xffff;
}

/// Flags of OP_QUERY.
pub mod query_flag {
    pub const TAILABLE: u32 = 1 << 1;
    pub const NO_TIMEOUT: u32 = 1 << 4;
    pub const AWAIT_DATA: u32 = 1 << 5;
    pub const EXHAUST: u32 = 1 << 6;
}

/// Flags of OP_REPLY.
pub mod reply_flag {
    pub const CURSOR_NOT_FOUND: u32 = 1;
    pub const QUERY_FAILURE: u32 = 1 << 1;
    /// The server knows `awaitData`; every server of the last decade sets it.
    pub const AWAIT_CAPABLE: u32 = 1 << 3;
}

/// What a message begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// Of the whole message, in bytes.
    pub length: usize,
    /// The sender's number for it.
    pub request_id: i32,
    /// The number of the message that this one answers.
    pub response_to: i32,
    /// Its kind.
    pub opcode: i32,
}

impl Header {
    /// Reads one. `Err`: its length is none that a message can have, and there is no next message to be found.
    ///
    /// # Errors
    /// The length.
    pub fn read(bytes: &[u8; HEADER]) -> Result<Self, i32> {
        let number = |at| int32(bytes, at).unwrap_or_default();
        let length = number(0);
        match usize::try_from(length) {
            Ok(length) if (HEADER..=LONGEST).contains(&length) => {
                Ok(Self { length, request_id: number(4), response_to: number(8), opcode: number(12) })
            }
            _ => Err(length),
        }
    }
}

/// Why a message cannot be read. Its bytes go on all the same, and so does the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// A kind that nobody knows.
    Opcode,
    /// A flag that must be known and is not.
    Flag,
    /// A section of OP_MSG that is none, a second body, or no body at all.
    Section,
    /// It ends before what is in it does.
    Short,
    /// A document is broken.
    Document(Broken),
    /// A compressor that nobody knows, or bytes that it did not make.
    Compression,
}

impl Unreadable {
    /// In a word, for logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opcode => "opcode",
            Self::Flag => "flag",
            Self::Section => "section",
            Self::Short => "short",
            Self::Document(broken) => broken.word(),
            Self::Compression => "compression",
        }
    }
}

impl From<Broken> for Unreadable {
    fn from(broken: Broken) -> Self {
        Self::Document(broken)
    }
}

/// What somebody keeps of a message.
pub trait Content: Visit {
    /// A message begins; `opcode` is that of what is inside, if it is compressed. Nothing of the one before may be left.
    fn begin(&mut self, header: &Header, opcode: i32);
    /// Its flags.
    fn flags(&mut self, flags: u32);
    /// `database.collection` of a legacy message.
    fn namespace(&mut self, name: &[u8]);
    /// A cursor that a legacy message is about.
    fn cursor(&mut self, id: i64);
    /// How many documents a legacy reply has.
    fn documents(&mut self, count: i32);
    /// The context of the document that is the command, query or reply.
    fn root(&self) -> u8;
    /// How many bytes of that document are wanted as they are. Zero: none.
    fn wants_raw(&self) -> usize;
    /// Those bytes.
    fn raw(&mut self, bytes: &[u8]);
    /// The context of the documents in a sequence of OP_MSG (kind 1) of this name; `None`: nobody looks at them.
    fn sequence(&self, name: &[u8]) -> Option<u8>;
    /// The command's document was seen to its end, or as far as it ever will be.
    fn body_read(&mut self);
    /// A sequence was seen to its end.
    fn sequence_read(&mut self, name_context: u8) {
        let _ = name_context;
    }
    /// Whether all that decides about the message is known, although it may not be at its end.
    fn is_known(&self) -> bool;
}

/// The document of a command or reply in a message that is there up to its end: of OP_MSG where it comes first, and of OP_QUERY.
#[must_use]
pub fn document(message: &[u8]) -> Option<&[u8]> {
    let body = message.get(HEADER..)?;
    let begins = match int32(message, 12)? {
        opcode::MSG if body.get(4) == Some(&0) => 5,
        // Flags and the collection's name, then how many documents to skip and to return.
        opcode::QUERY => 4 + body.get(4..)?.iter().position(|byte| *byte == 0)? + 9,
        _ => return None,
    };
    let rest = body.get(begins..)?;
    rest.get(..usize::try_from(int32(rest, 0)?).ok()?)
}
