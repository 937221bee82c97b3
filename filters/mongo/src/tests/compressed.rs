//! OP_COMPRESSED.

use bson::doc;

use super::*;

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn compressed(request_id: i32, response_to: i32, compressor: u8, body: &[u8]) -> Vec<u8> {
    let squeezed = match compressor {
        0 => body.to_vec(),
        1 => snap::raw::Encoder::new().compress_vec(body).unwrap(),
        2 => miniz_oxide::deflate::compress_to_vec_zlib(body, 6),
        _ => zstd(body),
    };
    wrap(request_id, response_to, compressor, body.len(), &squeezed)
}

fn wrap(request_id: i32, response_to: i32, compressor: u8, size: usize, squeezed: &[u8]) -> Vec<u8> {
    let mut bytes = opcode::MSG.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(size).unwrap().to_le_bytes());
    bytes.push(compressor);
    bytes.extend(squeezed);
    message(request_id, response_to, opcode::COMPRESSED, &bytes)
}

#[test]
fn all_compressors_are_read_in_every_chunking() {
    for compressor in 0..4 {
        let find = doc! { "find": "c", "filter": { "_id": [1], "x": "abc".repeat(300) }, "comment": r#"{"callingFunction":"f"}"#, "$db": "d" };
        let request = compressed(1, 0, compressor, &msg_body(0, &[Section::Body(find)]));
        let batch: Vec<Document> = (0..50).map(|number| doc! { "n": number }).collect();
        let answer = doc! { "cursor": { "firstBatch": batch, "id": 3_i64 }, "ok": 1 };
        let answer = compressed(2, 1, compressor, &msg_body(0, &[Section::Body(answer)]));
        for size in [1, 7, 100, usize::MAX] {
            let mut host = host("");
            let connection = host.connect();
            for piece in request.chunks(size.min(request.len())) {
                host.client_sends(&connection, piece);
            }
            for piece in answer.chunks(size.min(answer.len())) {
                host.upstream_sends(&connection, piece);
            }
            assert_eq!(host.upstream_got(&connection), &request);
            assert_eq!(host.client_got(&connection), &answer);
            assert_eq!(
                count("mongo_operations_total{db=d,cmd=find,collection=c,callsite=f}"),
                1,
                "{compressor}, {size}: {:#?}",
                metrics()
            );
            assert_eq!(count("mongo.mongo.op_query_multi_get"), 1);
            assert_eq!(count("mongo.mongo.op_compressed"), 1);
            assert_eq!(count("mongo.mongo.collection.c.query.reply_num_docs"), 50);
            assert_eq!(count("mongo.mongo.op_reply_valid_cursor"), 1);
            host.close(connection);
        }
    }
}

#[test]
fn of_large_ones_the_beginning_is_read() {
    for compressor in 0..4 {
        let mut host = host("");
        let connection = host.connect();
        host.client_sends(&connection, command(1, &doc! { "find": "c", "$db": "d" }));
        // A generator whose bytes no compressor makes much shorter.
        let mut seed = 7_u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{seed:x}").repeat(2)
        };
        let batch: Vec<Document> = (0..30_000).map(|_| doc! { "n": noise() }).collect();
        let answer = doc! { "cursor": { "firstBatch": batch, "id": 3_i64 }, "ok": 1 };
        let answer = compressed(2, 1, compressor, &msg_body(0, &[Section::Body(answer)]));
        for piece in answer.chunks(60_000) {
            host.upstream_sends(&connection, piece);
        }
        let documents = count("mongo.mongo.collection.c.query.reply_num_docs");
        assert!((27_000..33_000).contains(&documents), "{compressor}: {documents}");
        assert_eq!(count("mongo_forgotten_total{what=compressed}"), 1, "{compressor}");
        assert_eq!(count("mongo.mongo.decoding_error"), 0, "{compressor}");
        assert_eq!(count("mongo.mongo.op_query_active"), 0);
        host.close(connection);
    }
}

#[test]
fn bombs_and_lies_are_counted_and_the_stream_goes_on() {
    let zeros = vec![0; 40_000_000];
    let mut lie = msg_body(0, &[Section::Body(doc! { "ping": 1, "$db": "d" })]);
    lie.truncate(lie.len() - 3);
    let head = &msg_body(
        0,
        &[Section::Body(doc! { "insert": "c", "$db": "d", "documents": [{ "a": "x".repeat(3_000_000) }] })],
    );
    let mut host = host("");
    let connection = host.connect();
    let mut expected = Vec::new();
    for (bytes, errors) in [
        (compressed(1, 0, 1, &zeros), 1),
        (compressed(1, 0, 2, &zeros), 1),
        (compressed(1, 0, 3, &zeros), 1),
        (compressed(1, 0, 2, head), 0),
        (compressed(1, 0, 2, &lie), 1),
        (wrap(1, 0, 4, 30, b"abc"), 1),
        (wrap(1, 0, 1, 30, b"\xff\xff\xff\xff\xff\xff"), 1),
        (wrap(1, 0, 2, 30, b"this is no zlib"), 1),
        (wrap(1, 0, 3, 30, b"this is no zstd"), 1),
        (wrap(1, 0, 3, 30, b"\x28\xb5\x2f\xfd\x60\x00\xff\xff\xff\xff\xff\xff\xff"), 1),
        (wrap(1, 0, 1, 48_000_000, b"abc"), 1),
        (message(1, 0, opcode::COMPRESSED, b"\xdc\x07\0\0\x1e\0\0\0\x01abc"), 1),
        (message(1, 0, opcode::COMPRESSED, b"short"), 1),
        (command(2, &doc! { "ping": 1, "$db": "d" }), 0),
    ] {
        let before = count("mongo.mongo.decoding_error");
        host.client_sends(&connection, &bytes);
        expected.extend(&bytes);
        assert_eq!(count("mongo.mongo.decoding_error") - before, errors, "{:?}", bytes.get(..40.min(bytes.len())));
        assert_eq!(host.upstream_got(&connection), &expected);
    }
    assert_eq!(count("mongo_operations_total{db=d,cmd=ping}"), 1);
    host.close(connection);
}

#[test]
fn a_command_that_goes_beyond_what_is_inflated_is_not_judged_by_its_beginning() {
    let long = doc! { "drop": "c", "writeConcern": { "x": "y".repeat(400_000) }, "$db": "secret" };
    let far = [
        Section::Sequence("documents", vec![doc! { "x": "y".repeat(400_000) }]),
        Section::Body(doc! { "insert": "c", "$db": "secret" }),
    ];
    for body in [msg_body(0, &[Section::Body(long)]), msg_body(0, &far)] {
        for (rules, passes) in [
            ("", true),
            ("{ fault: { abort: { code: 6 }, match: { databases: [x] } } }", true),
            ("{ rules: [{ action: deny, databases: [secret] }] }", false),
            ("{ limits: [{ name: x, limit: 9/s }] }", false),
        ] {
            for compressor in 1..4 {
                let mut host = host(rules);
                let connection = host.connect();
                let request = compressed(1, 0, compressor, &body);
                host.client_sends(&connection, &request);
                let expected = if passes { request.as_slice() } else { &[] };
                assert_eq!(host.upstream_got(&connection).bytes(), expected, "{rules} {compressor}");
                let told = host.client_got(&connection);
                let code = crate::wire::document(told.bytes())
                    .map(|document| Document::from_reader(document).unwrap().get_i32("code").unwrap());
                assert_eq!(code, (!passes).then_some(9), "{rules} {compressor}");
                host.close(connection);
            }
        }
    }
}
