//! Bytes that drivers do not send, or only some of them.

use bson::{Document, doc};
use fyke_mongo_server::{MongoServer, Pose};

use crate::{
    raw::{Raw, framed, message},
    support::{server, until},
};

const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

fn ping() -> Document {
    doc! { "ping": 1, "$db": "admin" }
}

async fn refused(server: &MongoServer, bytes: &[u8], why: &str) {
    let before = server.wire_errors().len();
    let mut raw = Raw::connect(server).await;
    raw.bytes(bytes).await;
    raw.expect_closed().await;
    until(|| server.wire_errors().len() > before).await;
    let errors = server.wire_errors();
    assert!(errors.last().unwrap().contains(why), "{errors:?}");
}

#[tokio::test]
async fn what_cannot_be_a_message_closes_the_connection() {
    let server = server(Pose::Standalone).await;
    for length in [-1, 3, 15, i32::MAX] {
        let mut bytes = framed(1, 2013, &message(0, &ping()));
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        refused(&server, &bytes, "out of bounds").await;
    }
    refused(&server, &framed(1, 2002, &[0; 40]), "opcode 2002").await;
    refused(&server, &framed(1, 2013, &message(1 << 5, &ping())), "flags 0x20").await;
    refused(&server, &framed(1, 2013, &message(1, &ping())), "checksum").await;
    refused(&server, &framed(1, 2013, &message(0, &ping())[..12]), "cut short").await;
    let twice = [message(0, &ping()), message(0, &ping())[4..].to_vec()].concat();
    refused(&server, &framed(1, 2013, &twice), "second section").await;
    let mut kind = message(0, &ping());
    kind[4] = 7;
    refused(&server, &framed(1, 2013, &kind), "kind 7").await;
    let mut bomb = 2013_i32.to_le_bytes().to_vec();
    bomb.extend(i32::MAX.to_le_bytes());
    bomb.extend([1, 0, 0, 0]);
    refused(&server, &framed(1, 2012, &bomb), "too many").await;
    let mut deep = vec![5, 0, 0, 0, 0];
    for _ in 0..3000 {
        let length = i32::try_from(deep.len() + 8).unwrap();
        deep = [&length.to_le_bytes()[..], b"\x03a\0", &deep, &[0]].concat();
    }
    refused(&server, &framed(1, 2013, &[&[0; 5][..], &deep].concat()), "nested").await;
    // Optional flags are ignored.
    let mut raw = Raw::connect(&server).await;
    raw.send(1 << 20, &ping()).await;
    assert_eq!(raw.receive().await.unwrap().body.get_f64("ok").unwrap(), 1.0);
}

#[tokio::test]
async fn checksums_are_checked_and_returned() {
    let server = server(Pose::Standalone).await;
    let mut raw = Raw::connect(&server).await;
    let mut body = message(1, &ping());
    body.extend([0; 4]);
    let mut bytes = framed(9, 2013, &body);
    let end = bytes.len() - 4;
    let checksum = CRC32C.checksum(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    raw.bytes(&bytes).await;
    let frame = raw.frame().await.unwrap();
    let end = frame.len() - 4;
    assert_eq!(frame[16] & 1, 1);
    assert_eq!(CRC32C.checksum(&frame[..end]).to_le_bytes(), frame[end..]);
}

#[tokio::test]
async fn document_sequences_are_fields_in_any_order() {
    let server = server(Pose::Standalone).await;
    let mut raw = Raw::connect(&server).await;
    let mut sequence = b"documents\0".to_vec();
    for id in 0..3 {
        sequence.extend(doc! { "_id": id }.to_vec().unwrap());
    }
    let mut body = 0_u32.to_le_bytes().to_vec();
    body.push(1);
    body.extend(i32::try_from(sequence.len() + 4).unwrap().to_le_bytes());
    body.extend(sequence);
    body.extend(&message(0, &doc! { "insert": "c", "$db": "t" })[4..]);
    raw.bytes(&framed(5, 2013, &body)).await;
    let reply = raw.receive().await.unwrap();
    assert_eq!((reply.response_to, reply.body.get_i32("n").unwrap()), (5, 3));
}

#[tokio::test]
async fn op_query_is_answered_by_op_reply() {
    let server = server(Pose::Mongos).await;
    let mut raw = Raw::connect(&server).await;
    let query = |command: Document| {
        let mut body = 0_i32.to_le_bytes().to_vec();
        body.extend(b"admin.$cmd\0");
        body.extend(0_i32.to_le_bytes());
        body.extend((-1_i32).to_le_bytes());
        body.extend(command.to_vec().unwrap());
        framed(7, 2004, &body)
    };
    raw.bytes(&query(doc! { "isMaster": 1, "helloOk": true })).await;
    let reply = raw.receive().await.unwrap();
    assert_eq!((reply.opcode, reply.response_to, reply.flags, reply.rest.len()), (1, 7, 8, 0));
    assert!(reply.body.get_bool("ismaster").unwrap() && reply.body.get_bool("helloOk").unwrap());
    raw.bytes(&query(doc! { "nope": 1 })).await;
    assert_eq!(raw.receive().await.unwrap().flags, 8 | 2);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = server(Pose::Standalone).await;
    let mut raw = Raw::connect(&server).await;
    let bytes: Vec<u8> = (0..100).flat_map(|id| framed(id, 2013, &message(0, &ping()))).collect();
    raw.bytes(&bytes).await;
    for id in 0..100 {
        assert_eq!(raw.receive().await.unwrap().response_to, id);
    }
}
