//! Requests as documents, replies as bytes.

use bson::{Bson, Document, RawDocument, raw::RawBsonRef};

use super::{
    CHECKSUM_PRESENT, Compressor, EXHAUST_ALLOWED, HEADER, MORE_TO_COME, OP_COMPRESSED, OP_MSG, OP_QUERY, OP_REPLY,
    WireError, int32, wire_error,
};

const CRC32C: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// Levels of nested documents that are read, as real servers have it.
const MAX_DEPTH: usize = 200;

/// How a request came, and so how its reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// OP_MSG, answered by OP_MSG.
    Message,
    /// OP_QUERY on `$cmd`, answered by OP_REPLY.
    Query,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) request_id: i32,
    pub(crate) kind: Kind,
    pub(crate) flags: u32,
    pub(crate) compressor: Option<Compressor>,
    /// The command, with its document sequences as arrays, and `$db`.
    pub(crate) body: Document,
}

impl Incoming {
    /// The client reads no reply.
    pub(crate) fn more_to_come(&self) -> bool {
        self.kind == Kind::Message && self.flags & MORE_TO_COME != 0
    }

    /// The client reads several replies.
    pub(crate) fn exhaust_allowed(&self) -> bool {
        self.kind == Kind::Message && self.flags & EXHAUST_ALLOWED != 0
    }

    pub(crate) fn has_checksum(&self) -> bool {
        self.kind == Kind::Message && self.flags & CHECKSUM_PRESENT != 0
    }
}

/// A reply, before it is bytes.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) request_id: i32,
    pub(crate) response_to: i32,
    pub(crate) kind: Kind,
    pub(crate) more_to_come: bool,
    pub(crate) checksum: bool,
    pub(crate) compressor: Option<Compressor>,
    pub(crate) body: &'a Document,
}

/// Reads one whole message.
pub(crate) fn parse(frame: &[u8]) -> Result<Incoming, WireError> {
    let request_id = int32(frame, 4)?;
    match int32(frame, 12)? {
        OP_MSG => message(frame, request_id),
        OP_QUERY => query(frame, request_id),
        OP_COMPRESSED => compressed(frame, request_id),
        opcode => wire_error(format!("opcode {opcode} is not supported")),
    }
}

fn compressed(frame: &[u8], request_id: i32) -> Result<Incoming, WireError> {
    let opcode = int32(frame, HEADER)?;
    let size = usize::try_from(int32(frame, HEADER + 4)?).map_err(|_| WireError("negative inflated size".into()))?;
    let number = frame.get(HEADER + 8).copied().unwrap_or(u8::MAX);
    let packed = frame.get(HEADER + 9..).unwrap_or_default();
    let (compressor, plain) = match Compressor::numbered(number) {
        Some(compressor) => (Some(compressor), compressor.inflate(packed, size)?),
        None if number == 0 => (None, packed.to_vec()),
        None => return wire_error(format!("compressor {number} is not supported")),
    };
    let mut whole = Vec::with_capacity(HEADER + plain.len());
    whole.extend_from_slice(&header(HEADER + plain.len(), request_id, 0, opcode));
    whole.extend_from_slice(&plain);
    let mut incoming = match opcode {
        OP_MSG => message(&whole, request_id)?,
        OP_QUERY => query(&whole, request_id)?,
        _ => return wire_error(format!("opcode {opcode} inside OP_COMPRESSED is not supported")),
    };
    incoming.compressor = compressor;
    Ok(incoming)
}

fn message(frame: &[u8], request_id: i32) -> Result<Incoming, WireError> {
    let flags = int32(frame, HEADER)? as u32;
    let unknown = flags & 0xffff & !(CHECKSUM_PRESENT | MORE_TO_COME);
    if unknown != 0 {
        return wire_error(format!("required flags {unknown:#x} are unknown"));
    }
    let mut end = frame.len();
    if flags & CHECKSUM_PRESENT != 0 {
        end = end.saturating_sub(4);
        let expected = int32(frame, end)? as u32;
        if CRC32C.checksum(frame.get(..end).unwrap_or_default()) != expected {
            return wire_error("checksum does not match");
        }
    }
    let mut rest = frame.get(HEADER + 4..end).unwrap_or_default();
    let mut body = None;
    let mut sequences = Vec::new();
    while let Some((kind, section)) = rest.split_first() {
        match kind {
            0 if body.is_none() => {
                let (document, after) = document(section)?;
                body = Some(document);
                rest = after;
            }
            1 => {
                let size = usize::try_from(int32(section, 0)?).unwrap_or(0);
                let Some((inside, after)) = section.split_at_checked(size) else {
                    return wire_error("document sequence is cut short");
                };
                sequences.push(sequence(inside.get(4..).unwrap_or_default())?);
                rest = after;
            }
            0 => return wire_error("a second section of kind 0"),
            _ => return wire_error(format!("section kind {kind} is unknown")),
        }
    }
    let Some(mut body) = body else { return wire_error("no section of kind 0") };
    for (name, documents) in sequences {
        if body.insert(name, documents).is_some() {
            return wire_error("a document sequence repeats a field of the body");
        }
    }
    Ok(Incoming { request_id, kind: Kind::Message, flags, compressor: None, body })
}

fn sequence(bytes: &[u8]) -> Result<(String, Vec<Bson>), WireError> {
    let (name, mut rest) = c_string(bytes)?;
    let mut documents = Vec::new();
    while !rest.is_empty() {
        let (document, after) = document(rest)?;
        documents.push(Bson::Document(document));
        rest = after;
    }
    Ok((name, documents))
}

fn query(frame: &[u8], request_id: i32) -> Result<Incoming, WireError> {
    let flags = int32(frame, HEADER)? as u32;
    let (namespace, rest) = c_string(frame.get(HEADER + 4..).unwrap_or_default())?;
    let (mut body, rest) = document(rest.get(8..).unwrap_or_default())?;
    if !rest.is_empty() {
        document(rest)?;
    }
    let Some(database) = namespace.strip_suffix(".$cmd") else {
        return wire_error(format!("OP_QUERY on {namespace} is not supported"));
    };
    if let Ok(inner) = body.get_document("$query") {
        body = inner.clone();
    }
    body.insert("$db", database);
    Ok(Incoming { request_id, kind: Kind::Query, flags, compressor: None, body })
}

fn document(bytes: &[u8]) -> Result<(Document, &[u8]), WireError> {
    let size = usize::try_from(int32(bytes, 0)?).unwrap_or(0);
    let Some((inside, after)) = bytes.split_at_checked(size) else { return wire_error("document is cut short") };
    let failed = |error: bson::error::Error| WireError(format!("BSON: {error}"));
    let raw = RawDocument::from_bytes(inside).map_err(failed)?;
    check_depth(raw)?;
    Ok((Document::try_from(raw).map_err(failed)?, after))
}

// Documents are decoded by recursion, so their depth is bounded first.
fn check_depth(document: &RawDocument) -> Result<(), WireError> {
    let failed = |error: bson::error::Error| WireError(format!("BSON: {error}"));
    let mut open = vec![document.iter()];
    while let Some(elements) = open.last_mut() {
        let inner = match elements.next().transpose().map_err(failed)? {
            None => {
                open.pop();
                continue;
            }
            Some((_, RawBsonRef::Document(inner))) => inner,
            Some((_, RawBsonRef::Array(inner))) => RawDocument::from_bytes(inner.as_bytes()).map_err(failed)?,
            Some((_, RawBsonRef::JavaScriptCodeWithScope(code))) => code.scope,
            Some(_) => continue,
        };
        if open.len() >= MAX_DEPTH {
            return wire_error(format!("documents are nested deeper than {MAX_DEPTH} levels"));
        }
        open.push(inner.iter());
    }
    Ok(())
}

fn c_string(bytes: &[u8]) -> Result<(String, &[u8]), WireError> {
    let Some(end) = bytes.iter().position(|byte| *byte == 0) else { return wire_error("string without an end") };
    let (text, rest) = bytes.split_at(end);
    let text = std::str::from_utf8(text).map_err(|_| WireError("string is not UTF-8".into()))?;
    Ok((text.to_owned(), rest.get(1..).unwrap_or_default()))
}

fn header(length: usize, request_id: i32, response_to: i32, opcode: i32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let fields = [i32::try_from(length).unwrap_or(i32::MAX), request_id, response_to, opcode];
    for (place, field) in header.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    header
}

/// Writes one whole reply.
pub(crate) fn encode(reply: &Outgoing<'_>) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::with_capacity(512);
    let opcode = match reply.kind {
        Kind::Message => OP_MSG,
        Kind::Query => OP_REPLY,
    };
    bytes.extend_from_slice(&[0; HEADER]);
    match reply.kind {
        Kind::Message => {
            let flags =
                if reply.checksum { CHECKSUM_PRESENT } else { 0 } | if reply.more_to_come { MORE_TO_COME } else { 0 };
            bytes.extend_from_slice(&flags.to_le_bytes());
            bytes.push(0);
        }
        Kind::Query => {
            // AwaitCapable, or with an error QueryFailure as well; cursor 0, from 0, one document.
            let failed = reply.body.get("ok").and_then(crate::args::number) != Some(1.0);
            let flags: i32 = if failed { 8 | 2 } else { 8 };
            bytes.extend_from_slice(&flags.to_le_bytes());
            bytes.extend_from_slice(&0_i64.to_le_bytes());
            bytes.extend_from_slice(&0_i32.to_le_bytes());
            bytes.extend_from_slice(&1_i32.to_le_bytes());
        }
    }
    reply.body.to_writer(&mut bytes).map_err(|error| WireError(format!("BSON: {error}")))?;
    let length = bytes.len() + if reply.checksum { 4 } else { 0 };
    let head = header(length, reply.request_id, reply.response_to, opcode);
    if let Some(place) = bytes.first_chunk_mut::<HEADER>() {
        *place = head;
    }
    if reply.checksum {
        let checksum = CRC32C.checksum(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
    }
    match reply.compressor {
        Some(compressor) => pack(&bytes, opcode, reply, compressor),
        None => Ok(bytes),
    }
}

fn pack(plain: &[u8], opcode: i32, reply: &Outgoing<'_>, compressor: Compressor) -> Result<Vec<u8>, WireError> {
    let body = plain.get(HEADER..).unwrap_or_default();
    let packed = compressor.deflate(body)?;
    let mut bytes = Vec::with_capacity(HEADER + 9 + packed.len());
    bytes.extend_from_slice(&header(HEADER + 9 + packed.len(), reply.request_id, reply.response_to, OP_COMPRESSED));
    bytes.extend_from_slice(&opcode.to_le_bytes());
    bytes.extend_from_slice(&i32::try_from(body.len()).unwrap_or(i32::MAX).to_le_bytes());
    bytes.push(compressor.number());
    bytes.extend_from_slice(&packed);
    Ok(bytes)
}
