//! Messages as drivers and servers write them, and what becomes of them.

use bson::{Binary, Document, doc, spec::BinarySubtype};

use super::Random;
use crate::tests::{Section, message, msg_body, regex};
use crate::wire::opcode;

/// Numbers at which readers of lengths go wrong.
const ODD: [i32; 16] = [-1, 0, 1, 3, 4, 5, 15, 16, 17, 255, 256, 4096, 65_536, 48_000_000, 48_000_001, i32::MAX];

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

fn legacy(kind: i32, name: &str, rest: &[u8]) -> Vec<u8> {
    message(1, 1, kind, &[&[0; 4][..], name.as_bytes(), b"\0", rest].concat())
}

fn compressed(compressor: u8, body: &[u8]) -> Vec<u8> {
    let squeezed = match compressor {
        0 => body.to_vec(),
        1 => snap::raw::Encoder::new().compress_vec(body).unwrap(),
        2 => miniz_oxide::deflate::compress_to_vec_zlib(body, 6),
        _ => ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest),
    };
    let mut bytes = opcode::MSG.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.push(compressor);
    bytes.extend(squeezed);
    message(1, 1, opcode::COMPRESSED, &bytes)
}

/// Documents of commands and replies.
pub fn documents() -> Vec<Document> {
    let deep = (0..40).fold(doc! { "_id": 1 }, |inner, _| doc! { "a": inner });
    let login =
        doc! { "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": binary(b"n,,n=app,r=abc"), "db": "admin" };
    vec![
        doc! { "find": "c", "filter": { "_id": [1, 2], "x": regex("a") }, "comment": r#"{"callingFunction":"f"}"#, "maxTimeMS": 5, "$db": "d" },
        doc! { "find": "c", "filter": deep, "comment": { "callingFunction": "g" }, "lsid": { "id": binary(&[1; 16]) }, "txnNumber": 1_i64, "autocommit": false, "startTransaction": true, "$db": "d", "$readPreference": { "mode": "secondary" } },
        doc! { "insert": "c", "documents": [{ "a": "b".repeat(600) }, { "a": 1.5 }], "x".repeat(300): 1, "$db": "d" },
        doc! { "aggregate": "c", "pipeline": [{ "$match": {} }, { "$out": "x" }], "cursor": {}, "$db": "d" },
        doc! { "bulkWrite": 1, "ops": [{ "insert": 0 }], "nsInfo": [{ "ns": "a.b" }, { "ns": "c.d" }], "$db": "admin" },
        doc! { "getMore": 5_i64, "collection": "c", "$db": "d" },
        doc! { "killCursors": "c", "cursors": [5_i64, 6_i64], "$db": "d" },
        doc! { "endSessions": [{ "id": binary(&[1; 16]) }, { "id": binary(&[2; 16]) }], "$db": "admin" },
        doc! { "explain": { "find": "c", "filter": {} }, "$db": "d" },
        doc! { "hello": 1, "client": { "application": { "name": "web" }, "driver": { "name": "x" } }, "saslSupportedMechs": "admin.app", "speculativeAuthenticate": login.clone(), "topologyVersion": { "counter": 1_i64 }, "maxAwaitTimeMS": 10, "loadBalanced": true, "$db": "admin" },
        login,
        doc! { "saslContinue": 1, "conversationId": 1, "payload": binary(b"c=biws,r=abcdef,p=dGVzdA=="), "$db": "admin" },
        doc! { "cursor": { "firstBatch": [{}, { "a": "b".repeat(2000) }, {}], "id": 7_i64, "ns": "d.c" }, "ok": 1.0 },
        doc! { "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "no", "errorLabels": ["RetryableWriteError", 5] },
        doc! { "n": 1, "writeErrors": [{ "index": 0, "code": 11000 }, { "code": 1 }], "writeConcernError": { "code": 64 }, "ok": 1 },
        doc! { "isWritablePrimary": true, "setName": "rs", "hosts": ["a:1"], "maxWireVersion": 21, "minWireVersion": 0, "logicalSessionTimeoutMinutes": 30, "tags": {}, "ok": 1.0 },
    ]
}

/// Whole messages.
pub fn messages() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (at, document) in documents().into_iter().enumerate() {
        let body = Section::Body(document);
        let flags = [0, 1, 2, 1 << 16][at % 4];
        all.push(message(1, 1, opcode::MSG, &msg_body(flags, std::slice::from_ref(&body))));
        all.push(compressed(u8::try_from(at % 4).unwrap(), &msg_body(0, &[body])));
    }
    let rows = || Section::Sequence("documents", vec![doc! { "a": "b".repeat(700) }; 9]);
    let names = || Section::Sequence("nsInfo", vec![doc! { "ns": "a.b" }, doc! { "ns": "c.d" }]);
    let insert = || Section::Body(doc! { "insert": "c", "$db": "d" });
    let bulk = || Section::Body(doc! { "bulkWrite": 1, "$db": "admin" });
    for sections in [[insert(), rows()], [rows(), insert()], [bulk(), names()], [names(), bulk()], [names(), insert()]]
    {
        all.push(message(1, 1, opcode::MSG, &msg_body(0, &sections)));
    }
    let query = doc! { "$query": { "_id": 1 }, "$comment": "x" }.to_vec().unwrap();
    let command = doc! { "isMaster": 1 }.to_vec().unwrap();
    all.push(legacy(opcode::QUERY, "d.c", &[&[0; 8][..], &query].concat()));
    all.push(legacy(opcode::QUERY, "admin.$cmd", &[&[0; 8][..], &command].concat()));
    all.push(legacy(opcode::INSERT, "d.c", &query));
    all.push(legacy(opcode::GET_MORE, "d.c", &[9; 12]));
    all.push(message(1, 1, opcode::KILL_CURSORS, &[&[0, 0, 0, 0, 2, 0, 0, 0][..], &[7; 16]].concat()));
    all.push(message(1, 1, opcode::REPLY, &[&[8, 0, 0, 0][..], &[1; 8], &[0; 4], &[1, 0, 0, 0], &query].concat()));
    all
}

/// Makes something else of some bytes, by a few steps.
pub fn spoil(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..random.below(6) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let until = (at + 1 + random.below(40)).min(bytes.len());
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = *random.pick(&[0, 1, 2, 3, 4, 0x7f, 0x80, 0xff]),
            2 if at + 4 <= bytes.len() => {
                let odd = *random.pick(&ODD);
                bytes[at..at + 4].copy_from_slice(&odd.to_le_bytes());
            }
            3 => _ = bytes.drain(at..until),
            4 => {
                let again = bytes[at..until].to_vec();
                _ = bytes.splice(at..at, again);
            }
            5 => {
                let other = random.pick(others);
                let from = random.below(other.len());
                let piece = other[from..(from + random.below(200)).min(other.len())].to_vec();
                _ = bytes.splice(at..until, piece);
            }
            _ => bytes.truncate(until),
        }
    }
}

/// One or more messages of which most have the length that they say.
pub fn stream(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..=random.below(4) {
        let mut bytes = random.pick(corpus).clone();
        spoil(random, &mut bytes, corpus);
        let length = i32::try_from(bytes.len()).unwrap();
        if length >= 16 && !random.is_one_in(20) {
            bytes[..4].copy_from_slice(&length.to_le_bytes());
        }
        all.extend(bytes);
    }
    all
}
