//! The messages of MongoDB's protocol that are sent here: OP_MSG with fixed bytes, in which a number that the server says
//! again (the marker) and the ids are the only ones that change.

use std::{
    io::{Read, Write},
    ops::Range,
};

use anyhow::{Context as _, ensure};

use super::bson::{Document, length};

/// Of a message's header.
pub const HEADER: usize = 16;
/// Header, flags, and the kind of the first section.
const BEFORE_DOCUMENT: usize = 21;
const OP_MSG: u32 = 2013;
const REQUEST_ID: Range<usize> = 4..8;
const RESPONSE_TO: Range<usize> = 8..12;
/// Stands where the marker comes to be.
const SENTINEL: i64 = 0x5ea1_0f7a_11ed_5eed;
/// Of the small find and its reply.
pub const SMALL: usize = 200;
/// The longest data that a document of 16 MiB has room for, names and the like aside.
pub const LARGE: usize = (16 << 20) - 1024;
const CALLSITE: &str = r#"{"callingFunction":"loadUser"}"#;

/// A message with a marker in it.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    marker: Range<usize>,
}

impl Template {
    fn new(document: Document) -> Self {
        let bytes = message(document, &[]);
        let sentinel = SENTINEL.to_le_bytes();
        let at = bytes.windows(sentinel.len()).position(|window| window == sentinel).unwrap_or_default();
        Self { bytes, marker: at..at + sentinel.len() }
    }

    /// It, with these ids and this marker.
    pub fn with(&mut self, request_id: u32, response_to: u32, marker: u64) -> &[u8] {
        put(&mut self.bytes, REQUEST_ID, &request_id.to_le_bytes());
        put(&mut self.bytes, RESPONSE_TO, &response_to.to_le_bytes());
        put(&mut self.bytes, self.marker.clone(), &marker.to_le_bytes());
        &self.bytes
    }

    /// The marker in a message that was made by it.
    ///
    /// # Errors
    /// When it was not.
    pub fn marker(&self, message: &[u8]) -> anyhow::Result<u64> {
        ensure!(message.len() == self.bytes.len(), "{} bytes in place of {}", message.len(), self.bytes.len());
        let bytes = message.get(self.marker.clone()).context("no marker")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    }

    /// Whether a message is this one, ids and marker aside.
    pub fn is(&self, message: &[u8]) -> bool {
        let parts = |bytes: &[u8]| {
            let before = bytes.get(HEADER..self.marker.start).unwrap_or_default().to_vec();
            (before, bytes.get(self.marker.end..).unwrap_or_default().to_vec())
        };
        message.len() == self.bytes.len() && parts(message) == parts(&self.bytes)
    }
}

/// A find of 200 bytes, as drivers send it: with a session and a comment that names a call site.
pub fn small_find() -> Template {
    let filter = Document::default().int64("_id", SENTINEL).string("a", "abcde");
    let session = Document::default().binary("id", 4, &[7; 16]);
    Template::new(
        Document::default()
            .string("find", "users")
            .document("filter", filter)
            .int32("limit", 1)
            .boolean("singleBatch", true)
            .string("comment", CALLSITE)
            .document("lsid", session)
            .string("$db", "shop"),
    )
}

/// Its reply, of 200 bytes too.
pub fn small_reply() -> Template {
    Template::new(found("users", Document::default().int64("_id", SENTINEL).string("name", &"n".repeat(69))))
}

/// An insert of a document of 16 MB, as drivers send it: with the document in a section of its own.
pub fn large_insert() -> Vec<u8> {
    let document = Document::default().int64("_id", 1).binary("data", 0, &vec![0x5a; LARGE]).finish();
    let mut section = vec![1];
    section.extend(length(4 + b"documents\0".len() + document.len()));
    section.extend_from_slice(b"documents\0");
    section.extend_from_slice(&document);
    message(Document::default().string("insert", "files").boolean("ordered", true).string("$db", "shop"), &section)
}

/// Its reply.
pub fn inserted() -> Vec<u8> {
    message(Document::default().int32("n", 1).double("ok", 1.0), &[])
}

/// Asks for a document of 16 MB.
pub fn large_find() -> Vec<u8> {
    message(
        Document::default().string("find", "files").document("filter", Document::default()).string("$db", "shop"),
        &[],
    )
}

/// It.
pub fn large_reply() -> Vec<u8> {
    message(found("files", Document::default().int64("_id", 1).binary("data", 0, &vec![0x5a; LARGE])), &[])
}

fn found(collection: &str, document: Document) -> Document {
    let cursor = Document::default()
        .list_of_one("firstBatch", document)
        .int64("id", 0)
        .string("ns", &format!("shop.{collection}"));
    Document::default().document("cursor", cursor).double("ok", 1.0)
}

/// How a client begins.
pub fn hello() -> Vec<u8> {
    let driver = Document::default().string("name", "bench").string("version", "1");
    let client = Document::default()
        .document("application", Document::default().string("name", "bench"))
        .document("driver", driver)
        .document("os", Document::default().string("type", "Linux"));
    message(
        Document::default()
            .int32("hello", 1)
            .boolean("helloOk", true)
            .document("client", client)
            .string("$db", "admin"),
        &[],
    )
}

/// What a server that stands alone says to that.
pub fn greeting() -> Vec<u8> {
    message(
        Document::default()
            .boolean("helloOk", true)
            .boolean("ismaster", true)
            .boolean("isWritablePrimary", true)
            .int32("maxBsonObjectSize", 16 << 20)
            .int32("maxMessageSizeBytes", 48_000_000)
            .int32("maxWriteBatchSize", 100_000)
            .int32("logicalSessionTimeoutMinutes", 30)
            .int32("minWireVersion", 0)
            .int32("maxWireVersion", 21)
            .boolean("readOnly", false)
            .double("ok", 1.0),
        &[],
    )
}

/// What it says to all else.
pub fn fine() -> Vec<u8> {
    message(Document::default().double("ok", 1.0), &[])
}

fn message(document: Document, more: &[u8]) -> Vec<u8> {
    let document = document.finish();
    let mut out = length(BEFORE_DOCUMENT + document.len() + more.len()).to_vec();
    out.extend([0; 8]);
    out.extend(OP_MSG.to_le_bytes());
    out.extend([0; 5]);
    out.extend_from_slice(&document);
    out.extend_from_slice(more);
    out
}

/// Gives a message these ids.
pub fn set_ids(message: &mut [u8], request_id: u32, response_to: u32) {
    put(message, REQUEST_ID, &request_id.to_le_bytes());
    put(message, RESPONSE_TO, &response_to.to_le_bytes());
}

fn put(bytes: &mut [u8], place: Range<usize>, value: &[u8]) {
    if let Some(place) = bytes.get_mut(place).filter(|place| place.len() == value.len()) {
        place.copy_from_slice(value);
    }
}

fn number(bytes: &[u8], place: Range<usize>) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(place)?.try_into().ok()?))
}

/// The length that a header says, once enough of it is there.
///
/// # Errors
/// When it is none.
pub fn length_of(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(length) = number(bytes, 0..4) else { return Ok(None) };
    ensure!((HEADER..=48_000_000).contains(&(length as usize)), "a message of {length} bytes");
    Ok(Some(length as usize))
}

/// Its id.
pub fn request_id(message: &[u8]) -> u32 {
    number(message, REQUEST_ID).unwrap_or_default()
}

/// What it answers.
pub fn response_to(message: &[u8]) -> u32 {
    number(message, RESPONSE_TO).unwrap_or_default()
}

/// The name of its command: the first in its document.
pub fn command(message: &[u8]) -> &[u8] {
    let name = message.get(BEFORE_DOCUMENT + 5..).unwrap_or_default();
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Begins on a blocking connection.
///
/// # Errors
/// When the answer is none to that.
pub fn greet(stream: &mut (impl Read + Write)) -> anyhow::Result<()> {
    let mut hello = hello();
    set_ids(&mut hello, 1, 0);
    stream.write_all(&hello)?;
    let answer = read(stream)?;
    let fine = Document::default().double("ok", 1.0).finish();
    // Type, name and value of `ok`, without what documents have around them.
    let fine = fine.get(4..fine.len() - 1).unwrap_or_default();
    ensure!(response_to(&answer) == 1, "`hello` was answered with a reply to something else");
    ensure!(answer.windows(fine.len()).any(|window| window == fine), "`hello` was refused");
    Ok(())
}

/// A whole message from a blocking connection.
pub fn read(stream: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut message = vec![0; HEADER];
    stream.read_exact(&mut message).context("no message")?;
    let length = length_of(&message)?.context("no length")?;
    message.resize(length, 0);
    stream.read_exact(message.get_mut(HEADER..).unwrap_or_default()).context("a message was cut short")?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_have_two_hundred_bytes_and_carry_their_marker() {
        for mut template in [small_find(), small_reply()] {
            let message = template.with(5, 6, 77).to_vec();
            assert_eq!((message.len(), length_of(&message).unwrap()), (SMALL, Some(SMALL)));
            assert_eq!((request_id(&message), response_to(&message)), (5, 6));
            assert_eq!(template.marker(&message).unwrap(), 77);
            assert!(template.is(&message));
            let mut other = message.clone();
            other[SMALL - 3] ^= 1;
            assert!(!template.is(&other));
        }
        assert_eq!(command(small_find().with(1, 0, 1)), b"find");
    }

    #[test]
    fn large_documents_are_of_sixteen_megabytes_and_no_more() {
        for message in [large_insert(), large_reply()] {
            assert!(((15 << 20)..(16 << 20)).contains(&message.len()), "{}", message.len());
            assert_eq!(length_of(&message).unwrap(), Some(message.len()));
        }
        assert!(length_of(&[1, 0, 0, 0]).is_err());
    }
}
