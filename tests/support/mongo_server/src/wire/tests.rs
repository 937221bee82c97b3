//! Whatever comes, reading it ends in a message or an error.

use bson::doc;
use proptest::prelude::*;

use super::{message::Kind, *};

fn outgoing(body: &bson::Document, checksum: bool, compressor: Option<Compressor>) -> Vec<u8> {
    let reply = Outgoing {
        request_id: 7,
        response_to: 3,
        kind: Kind::Message,
        more_to_come: false,
        checksum,
        compressor,
        body,
    };
    encode(&reply).unwrap()
}

proptest! {
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn damaged_messages_are_survived(at in 16_usize..80, byte: u8, opcode in 0_usize..3, checksum: bool) {
        let compressor = [None, Some(Compressor::Snappy), Some(Compressor::Zstd)][opcode];
        let body = doc! { "insert": "c", "documents": [ { "a": 1, "b": "text" } ], "$db": "t" };
        let mut bytes = outgoing(&body, checksum, compressor);
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = parse(&bytes);
    }

    #[test]
    fn what_is_written_is_read(text in ".{0,200}", number: i64, checksum: bool, which in 0_usize..4) {
        let compressor = [None, Some(Compressor::Snappy), Some(Compressor::Zlib), Some(Compressor::Zstd)][which];
        // Nobody does both: the sum is over what is compressed.
        let checksum = checksum && compressor.is_none();
        let body = doc! { "find": text, "n": number, "$db": "t" };
        let incoming = parse(&outgoing(&body, checksum, compressor)).unwrap();
        prop_assert_eq!((incoming.request_id, incoming.compressor, incoming.has_checksum()), (7, compressor, checksum));
        prop_assert_eq!(incoming.body, body);
    }
}
