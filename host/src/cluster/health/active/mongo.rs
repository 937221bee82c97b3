//! `hello`, which must be answered with `ok: 1` (MongoDB wire protocol, `OP_MSG`).
//!
//! Just enough of the protocol to ask: one message is written, one is read, of at most 64 KiB, and of its document
//! only the top level is walked. Nested documents are skipped by their length, so nothing recurses.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Failure, Verdict,
    raw::{self, Asked, RECEIVE_LIMIT, Read},
};

const OP_MSG: i32 = 2013;
const REQUEST: i32 = 1;
/// Message header (16), flags (4), kind of section (1), empty document (5).
const SMALLEST: usize = 26;
const CHECKSUM_PRESENT: u32 = 1;
/// Flags that one must understand to read a message; the upper half may be ignored. `moreToCome` is among them: nobody
/// has asked for more than one answer.
const REQUIRED: u32 = 0xffff;

pub(super) async fn ask<I>(io: &mut I) -> Result<Asked, Failure>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    raw::send(io, &hello()).await?;
    let mut received = Vec::new();
    loop {
        if let Some((message, rest)) = split_message(&received)? {
            let verdict = match judge(message) {
                Ok(verdict) => verdict,
                Err(wrong) => return Err(garbage(wrong)),
            };
            return Ok(Asked::keep_unless_followed(verdict, rest));
        }
        if raw::read(io, &mut received, RECEIVE_LIMIT).await? == Read::Closed {
            return Err(raw::closed_after(&received));
        }
    }
}

/// `{ hello: 1, helloOk: true, $db: "admin" }`. `hello` comes first: the first key is the command.
fn hello() -> Vec<u8> {
    let elements: &[&[u8]] = &[b"\x10hello\0\x01\0\0\0", b"\x08helloOk\0\x01", b"\x02$db\0\x06\0\0\0admin\0"];
    let elements = elements.concat();
    let document = length(elements.len().saturating_add(5));
    let head = [length(elements.len().saturating_add(SMALLEST)), REQUEST.to_le_bytes(), [0; 4], OP_MSG.to_le_bytes()];
    [head.as_flattened(), &[0; 4], &[0], &document, &elements, &[0]].concat()
}

fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_le_bytes()
}

/// A message, and what follows it.
type Split<'bytes> = (&'bytes [u8], &'bytes [u8]);

/// The first message, when it is there as a whole, and what follows it.
fn split_message(received: &[u8]) -> Result<Option<Split<'_>>, Failure> {
    let Some(length) = Reader(received).int32() else { return Ok(None) };
    match usize::try_from(length) {
        Ok(length) if (SMALLEST..=RECEIVE_LIMIT).contains(&length) => Ok(received.split_at_checked(length)),
        _ => Err(garbage(Wrong::Length)),
    }
}

fn garbage(wrong: Wrong) -> Failure {
    Failure::network(format!("hello was not answered in MongoDB's protocol: {wrong}"))
}

/// What makes bytes not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error("its message has an impossible length")]
    Length,
    #[error("its message is not an OP_MSG")]
    Operation,
    #[error("its message answers another request")]
    AnswersAnother,
    #[error("its message has flags that are not understood")]
    Flags,
    #[error("its message has a section that is not understood")]
    Section,
    #[error("its document is cut off or malformed")]
    Document,
    #[error("its document has no ok")]
    NoOk,
}

fn judge(message: &[u8]) -> Result<Verdict, Wrong> {
    let mut reader = Reader(message);
    reader.take(8).ok_or(Wrong::Length)?;
    if reader.int32() != Some(REQUEST) {
        return Err(Wrong::AnswersAnother);
    }
    if reader.int32() != Some(OP_MSG) {
        return Err(Wrong::Operation);
    }
    let flags = reader.int32().map(i32::cast_unsigned).ok_or(Wrong::Length)?;
    if flags & REQUIRED & !CHECKSUM_PRESENT != 0 {
        return Err(Wrong::Flags);
    }
    if flags & CHECKSUM_PRESENT != 0 {
        // Not verified: TCP has seen to that, and the field's own drivers do not either.
        reader.drop_last(4).ok_or(Wrong::Length)?;
    }
    // A reply has one section, its body; sequences of documents come with requests.
    if reader.take(1) != Some(&[0]) {
        return Err(Wrong::Section);
    }
    let answer = Answer::read(&mut reader).ok_or(Wrong::Document)?;
    if !reader.0.is_empty() {
        return Err(Wrong::Section);
    }
    match answer.ok.ok_or(Wrong::NoOk)? {
        Outcome::Well => Ok(Verdict::Passed),
        Outcome::Refused => {
            let why = answer.message.map_or_else(String::new, |message| format!(": {}", raw::excerpt(message)));
            Ok(Verdict::Failed(Failure::active(format!("hello was not answered with ok: 1{why}"))))
        }
    }
}

/// What matters of a reply.
#[derive(Debug, Default)]
struct Answer<'bytes> {
    ok: Option<Outcome>,
    message: Option<&'bytes [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Well,
    Refused,
}

impl<'bytes> Answer<'bytes> {
    /// Walks the top level of a BSON document. `None` when it is malformed.
    fn read(reader: &mut Reader<'bytes>) -> Option<Self> {
        let mut document = reader.document()?;
        let mut answer = Self::default();
        loop {
            let kind = *document.take(1)?.first()?;
            if kind == 0 {
                return document.0.is_empty().then_some(answer);
            }
            let name = document.cstring()?;
            let value = document.value(kind)?;
            match name {
                b"ok" => answer.ok = Some(Outcome::of(kind, value)),
                b"errmsg" if kind == 0x02 => answer.message = value.get(4..value.len().saturating_sub(1)),
                _ => {}
            }
        }
    }
}

impl Outcome {
    /// One, in any of the types in which servers have said it.
    fn of(kind: u8, value: &[u8]) -> Self {
        let one = match kind {
            0x01 => value == 1.0_f64.to_le_bytes(),
            0x08 => value == [1],
            0x10 => value == 1_i32.to_le_bytes(),
            0x12 => value == 1_i64.to_le_bytes(),
            _ => false,
        };
        if one { Self::Well } else { Self::Refused }
    }
}

/// Bytes that are still to be read; every read is checked against them.
#[derive(Debug)]
struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    fn take(&mut self, length: usize) -> Option<&'bytes [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn drop_last(&mut self, length: usize) -> Option<()> {
        self.0 = self.0.get(..self.0.len().checked_sub(length)?)?;
        Some(())
    }

    fn int32(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A length as BSON writes it.
    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.int32()?).ok()
    }

    /// What a document's length covers, behind that length.
    fn document(&mut self) -> Option<Reader<'bytes>> {
        let length = self.length()?.checked_sub(4)?;
        self.take(length).map(Reader)
    }

    fn cstring(&mut self) -> Option<&'bytes [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let string = self.take(end)?;
        self.take(1)?;
        Some(string)
    }

    /// The bytes of a value (bsonspec.org, version 1.1), without looking into documents.
    fn value(&mut self, kind: u8) -> Option<&'bytes [u8]> {
        let before = self.0;
        match kind {
            // Undefined, null, smallest and largest key.
            0x06 | 0x0a | 0xff | 0x7f => {}
            0x08 => drop(self.take(1)?),
            0x10 => drop(self.take(4)?),
            // Double, date, timestamp, 64-bit integer.
            0x01 | 0x09 | 0x11 | 0x12 => drop(self.take(8)?),
            0x07 => drop(self.take(12)?),
            0x13 => drop(self.take(16)?),
            // Strings: text, code, symbol. Their length counts the zero at their end.
            0x02 | 0x0d | 0x0e => drop(self.string()?),
            // Document, array, code with scope: their length counts itself.
            0x03 | 0x04 | 0x0f => self.document().map(|_| ())?,
            0x05 => {
                let length = self.length()?.checked_add(1)?;
                self.take(length)?;
            }
            0x0b => {
                self.cstring()?;
                self.cstring()?;
            }
            0x0c => {
                self.string()?;
                self.take(12)?;
            }
            _ => return None,
        }
        before.get(..before.len().checked_sub(self.0.len())?)
    }

    fn string(&mut self) -> Option<&'bytes [u8]> {
        let length = self.length()?;
        self.take(length)?.strip_suffix(&[0])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reply with these elements in its document.
    pub(in super::super) fn reply(flags: u32, elements: &[u8]) -> Vec<u8> {
        let document = [&length(elements.len() + 5), elements, &[0]].concat();
        let total = length(document.len() + 21);
        let head = [total, [7, 0, 0, 0], REQUEST.to_le_bytes(), OP_MSG.to_le_bytes(), flags.to_le_bytes()];
        [head.as_flattened(), &[0], &document].concat()
    }

    #[test]
    fn the_request_is_a_message_that_can_be_walked() {
        let request = hello();
        let (message, rest) = split_message(&request).unwrap().unwrap();
        assert!(rest.is_empty());
        assert!(Answer::read(&mut Reader(&message[21..])).is_some());
    }

    #[test]
    fn every_way_to_write_one_passes_and_nothing_else() {
        let well: [&[u8]; 4] =
            [b"\x01ok\0\0\0\0\0\0\0\xf0\x3f", b"\x08ok\0\x01", b"\x10ok\0\x01\0\0\0", b"\x12ok\0\x01\0\0\0\0\0\0\0"];
        for element in well {
            assert_eq!(judge(&reply(0, element)), Ok(Verdict::Passed));
        }
        let failed = Failure::active("hello was not answered with ok: 1: not primary");
        let refused = b"\x01ok\0\0\0\0\0\0\0\0\0\x02errmsg\0\x0c\0\0\0not primary\0";
        assert_eq!(judge(&reply(0, refused)), Ok(Verdict::Failed(failed)));
        assert_eq!(judge(&reply(0, b"\x0aother\0")), Err(Wrong::NoOk));
    }

    #[test]
    fn all_types_of_values_are_passed_over() {
        let elements: [&[u8]; 12] = [
            b"\x03a\0\x05\0\0\0\0",
            b"\x05b\0\x02\0\0\0\0xy",
            b"\x07c\0abcdefghijkl",
            b"\x0bd\0pattern\0i\0",
            b"\x0ce\0\x02\0\0\0x\0abcdefghijkl",
            b"\x0ff\0\x04\0\0\0",
            b"\x13g\x000123456789abcdef",
            b"\xffh\0",
            b"\x7fi\0",
            b"\x06j\0",
            b"\x09k\x0001234567",
            b"\x10ok\0\x01\0\0\0",
        ];
        assert_eq!(judge(&reply(0, &elements.concat())), Ok(Verdict::Passed));
    }

    #[test]
    fn flags_are_heeded() {
        let ok = b"\x08ok\0\x01";
        assert_eq!(judge(&reply(1 << 16, ok)), Ok(Verdict::Passed));
        assert_eq!(judge(&reply(1 << 1, ok)), Err(Wrong::Flags));
        assert_eq!(judge(&reply(1 << 5, ok)), Err(Wrong::Flags));
        let mut with_checksum = reply(CHECKSUM_PRESENT, ok);
        assert!(judge(&with_checksum).is_err());
        with_checksum.extend_from_slice(&[1, 2, 3, 4]);
        assert_eq!(judge(&with_checksum), Ok(Verdict::Passed));
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_held_for_them() {
        for length in [i32::MIN, -1, 0, 25, 65_537, i32::MAX] {
            assert!(split_message(&length.to_le_bytes()).is_err(), "{length}");
        }
        assert_eq!(split_message(&[26, 0, 0]), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, elements: Vec<u8>) {
            let _ = split_message(&bytes);
            let _ = judge(&bytes);
            let _ = judge(&reply(0, &elements));
        }

        #[test]
        fn a_changed_byte_never_panics(at in 0..60_usize, byte: u8) {
            let mut message = reply(0, b"\x02errmsg\0\x04\0\0\0abc\0\x04x\0\x05\0\0\0\0\x08ok\0\x01");
            if let Some(place) = message.get_mut(at) {
                *place = byte;
            }
            let _ = judge(&message);
        }
    }
}
