//! In which form an error is told.

use super::*;

fn full() -> (TcpHost<Mongo>, u32) {
    let host = one(&json!({ "name": "x", "limit": "1/h" }));
    let (client, _) = host.connect();
    assert!(passes(&host, client, &find(1)));
    (host, client)
}

fn query(namespace: &str, document: &Document) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(namespace.as_bytes());
    body.extend([0; 9]);
    body.extend(document.to_vec().unwrap());
    message(7, 0, opcode::QUERY, &body)
}

/// Flags, and the document of an OP_REPLY to request 7.
fn op_reply(bytes: &[u8]) -> (i32, Document) {
    let number = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((number(0), number(8), number(12), number(32)), (bytes.len().try_into().unwrap(), 7, opcode::REPLY, 1));
    (number(16), Document::from_reader(&bytes[36..]).unwrap())
}

#[test]
fn a_command_in_a_query_is_told_as_a_command_and_a_query_as_a_query() {
    let (host, client) = full();
    assert!(!passes(&host, client, &query("d.$cmd", &doc! { "count": "c" })));
    let (flags, document) = op_reply(&host.written(Downstream, client));
    assert_eq!((flags, document.get_i32("code").unwrap()), (0, 462));
    assert!(document.contains_key("errmsg") && document.contains_key("errorLabels"));
    assert!(!passes(&host, client, &query("d.c", &doc! { "x": 1 })));
    let (flags, document) = op_reply(&host.written(Downstream, client));
    // Query failure.
    assert_eq!((flags, document.get_i32("code").unwrap()), (2, 462));
    assert!(document.contains_key("$err"));
    let get_more = [&[0; 4][..], b"d.c\0", &[0; 4], &[9; 8]].concat();
    assert!(!passes(&host, client, &message(7, 0, opcode::GET_MORE, &get_more)));
    assert_eq!(op_reply(&host.written(Downstream, client)).0, 2);
}

#[test]
fn what_asks_for_no_answer_is_left_out_and_counted() {
    let (host, client) = full();
    let silent = msg_body(2, &[Section::Body(doc! { "insert": "c", "documents": [{}], "$db": "d" })]);
    let legacy = [&[0; 4][..], b"d.c\0", &doc! { "a": 1 }.to_vec().unwrap()].concat();
    for request in [message(2, 0, opcode::MSG, &silent), message(3, 0, opcode::INSERT, &legacy)] {
        assert!(!passes(&host, client, &request));
        assert!(host.written(Downstream, client).is_empty());
    }
    assert_eq!(count("mongo_dropped_total{cmd=insert,reason=limit}"), 2);
    assert_eq!(outcome("x", "over"), 2);
    // The connection goes on.
    assert!(passes(&host, client, &command(4, &doc! { "ping": 1, "$db": "d" })));
}

#[test]
fn a_compressed_request_is_told_in_the_clear() {
    let (host, client) = full();
    let body = msg_body(0, &[Section::Body(doc! { "find": "c", "$db": "d" })]);
    let mut bytes = opcode::MSG.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.push(1);
    bytes.extend(snap::raw::Encoder::new().compress_vec(&body).unwrap());
    assert!(!passes(&host, client, &message(2, 0, opcode::COMPRESSED, &bytes)));
    assert_eq!(told(&host, client).get_i32("code").unwrap(), 462);
}

#[test]
fn every_operation_is_counted_once_however_it_arrives() {
    let all = [find(1), find(2), find(3)].concat();
    for size in [1, 7, 40, all.len()] {
        let host = one(&json!({ "name": "x", "limit": "2/h" }));
        let (client, _) = host.connect();
        for piece in all.chunks(size) {
            host.send(Downstream, client, piece, false);
        }
        assert_eq!((outcome("x", "ok"), outcome("x", "over")), (2, 1), "{size}");
        assert_eq!(told(&host, client).get_i32("code").unwrap(), 462, "{size}");
    }
}
