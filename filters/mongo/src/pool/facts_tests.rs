use proptest::prelude::*;

use super::*;
use crate::bson::write::Document;
use crate::wire::frames::{Frames, Reach};
use crate::wire::inflate::Inflater;
use crate::wire::write::op_msg;

fn document(write: impl FnOnce(&mut Document)) -> Vec<u8> {
    let mut document = Document::new();
    write(&mut document);
    document.finish()
}

/// As the filter reads it.
fn request(document: &[u8]) -> message::request::Request {
    let mut frames = Frames::<message::request::Request>::default();
    frames.content.callsite_key = "callingFunction".into();
    let reach = Reach { document: 1 << 16, compressed: 1 << 16, inflated: 1 << 16 };
    let bytes = op_msg(1, 0, 0, document);
    let mut at = 0;
    while frames.advance(&bytes, &mut at, 0, &reach, &mut Inflater::default()).is_some() {}
    frames.content
}

#[test]
fn reads_a_command_of_a_transaction() {
    let bytes = document(|d| {
        d.string("find", "orders").string("$db", "shop").document("lsid", |d| {
            d.binary_of("id", 4, &[7; 16]);
        });
        d.int64("txnNumber", 5).bool("autocommit", false).bool("startTransaction", true);
        d.document("$readPreference", |d| {
            d.string("mode", "secondaryPreferred");
        });
    });
    let request = request(&bytes);
    let command = Command::of(&request);
    assert_eq!((command.name, command.database, command.collection), ("find", "shop", Some("orders")));
    assert_eq!((command.session, command.txn_number), (Some(&[7; 16][..]), Some(5)));
    assert!(command.in_transaction && command.starts_transaction && !command.long_lived);
    assert_eq!(command.read_preference, ReadPreference::SecondaryPreferred);
}

#[test]
fn reads_cursors_and_sessions() {
    let bytes = document(|d| {
        d.int64("getMore", 77).string("collection", "c").string("$db", "d");
    });
    let read = request(&bytes);
    let command = Command::of(&read);
    assert_eq!((command.cursors, command.collection), (vec![77], Some("c")));
    let bytes = document(|d| {
        d.string("killCursors", "c").array("cursors", |a| {
            a.int64(1).int64(2);
        });
    });
    assert_eq!(Command::of(&request(&bytes)).cursors, [1, 2]);
    let bytes = document(|d| {
        d.array("endSessions", |a| {
            a.document(|d| {
                d.binary("id", b"s");
            });
        });
    });
    assert_eq!(Command::of(&request(&bytes)).sessions, [b"s"]);
}

#[test]
fn reads_what_a_pipeline_is_for() {
    let pipeline = |stages: &[&str]| {
        let bytes = document(|d| {
            d.string("aggregate", "c").array("pipeline", |a| {
                for stage in stages {
                    a.document(|d| {
                        d.int32(stage, 1);
                    });
                }
            });
        });
        let request = request(&bytes);
        let command = Command::of(&request);
        (command.long_lived, command.writes_result)
    };
    assert_eq!(pipeline(&[]), (false, false));
    assert_eq!(pipeline(&["$match", "$group"]), (false, false));
    assert_eq!(pipeline(&["$changeStream", "$match"]), (true, false));
    assert_eq!(pipeline(&["$match", "$merge"]), (false, true));
    assert_eq!(pipeline(&["$out"]), (false, true));
}

#[test]
fn reads_replies() {
    let bytes = document(|d| {
        d.document("cursor", |d| {
            d.array("firstBatch", |_| {}).int64("id", 9).string("ns", "d.c");
        });
        d.double("ok", 1.0);
    });
    let reply = Reply::read(&bytes).unwrap();
    assert_eq!((reply.ok, reply.cursor, reply.namespace), (true, Some(9), Some("d.c")));
    let bytes = document(|d| {
        d.double("ok", 0.0).int32("code", 112).array("errorLabels", |a| {
            a.string("TransientTransactionError").string("Other");
        });
    });
    let reply = Reply::read(&bytes).unwrap();
    assert_eq!((reply.ok, reply.code, reply.labels), (false, Some(112), Labels::TRANSIENT_TRANSACTION));
}

#[test]
fn labels_have_the_names_of_the_wire() {
    let labels = Labels::RETRYABLE_WRITE.and(Labels::NO_WRITES);
    assert_eq!(labels.names().collect::<Vec<_>>(), ["RetryableWriteError", "NoWritesPerformed"]);
    assert!(labels.names().map(Labels::named).all(|label| labels.contains(label)));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = (request(&bytes), Reply::read(&bytes));
    }

    /// Damage to a real command must not panic either; it gets deeper than noise does.
    #[test]
    fn damage_never_panics(at in 0_usize..160, byte in any::<u8>()) {
        let mut bytes = document(|d| {
            d.string("aggregate", "c").array("pipeline", |a| { a.document(|d| { d.int32("$match", 1); }); });
            d.document("lsid", |d| { d.binary_of("id", 4, &[7; 16]); }).int64("txnNumber", 5);
            d.document("$readPreference", |d| { d.string("mode", "nearest"); });
            d.document("cursor", |d| { d.int64("id", 9).string("ns", "d.c"); });
        });
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = (request(&bytes), Reply::read(&bytes));
    }
}
