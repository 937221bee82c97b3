//! Wherever a stream is cut, the same is counted, and the same comes out.

use bson::{Bson, doc};
use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = Bson> {
    prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<bool>().prop_map(Bson::Boolean),
        "[a-z]{0,40}".prop_map(Bson::String),
        (0_usize..9000).prop_map(|length| Bson::String("z".repeat(length))),
        Just(Bson::Null),
        Just(bson::bson!({ "a": [1, { "b": 2.5 }], "_id": { "c": 1 } })),
        Just(regex("^a.*")),
        prop::collection::vec(any::<u8>(), 0..30)
            .prop_map(|bytes| Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes })),
    ]
}

fn request() -> impl Strategy<Value = (Document, u32, bool)> {
    let name = prop::sample::select(vec!["find", "insert", "no_such_command", "aggregate", "hello"]);
    let field = ("[a-c]{1,3}|filter|comment|_id|x{300}", value());
    (name, "[a-c]", prop::collection::vec(field, 0..6), any::<bool>(), prop::sample::select(vec![0, 1, 2, 1 << 16]))
        .prop_map(|(name, collection, fields, sequence, flags)| {
            let mut document = doc! { name: collection };
            document.extend(fields);
            document.insert("$db", "d");
            (document, flags, sequence)
        })
}

fn bytes(requests: &[(Document, u32, bool)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (number, (document, flags, sequence)) in requests.iter().enumerate() {
        let mut sections = vec![Section::Body(document.clone())];
        if *sequence {
            sections.insert(number % 2, Section::Sequence("documents", vec![doc! { "a": "b".repeat(600) }; 3]));
        }
        all.extend(message(i32::try_from(number).unwrap(), 0, opcode::MSG, &msg_body(*flags, &sections)));
    }
    all
}

/// Everything that can be seen from outside.
fn run(
    configuration: &str,
    requests: &[u8],
    answers: &[u8],
    cuts: &[usize],
) -> (BTreeMap<String, Vec<i64>>, Vec<u8>, Vec<u8>) {
    let mut host = host(configuration);
    let connection = host.connect();
    for (is_client, mut bytes) in [(true, requests), (false, answers)] {
        let mut cuts = cuts.iter().cycle();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at((*cuts.next().unwrap()).min(bytes.len()));
            if is_client {
                host.client_sends(&connection, piece);
            } else {
                host.upstream_sends(&connection, piece);
            }
            bytes = rest;
        }
    }
    let (up, down) = (host.upstream_got(&connection).bytes().to_vec(), host.client_got(&connection).bytes().to_vec());
    host.close(connection);
    (metrics(), up, down)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(
        requests in prop::collection::vec(request(), 1..5),
        answers in prop::collection::vec((0..5, prop::collection::vec(value(), 0..4), any::<bool>()), 0..5),
        cuts in prop::collection::vec(1_usize..3000, 1..6),
        policy in any::<bool>(),
    ) {
        let requests = bytes(&requests);
        let answers: Vec<u8> = answers.into_iter().flat_map(|(number, batch, ok)| {
            let batch: Vec<Document> = batch.into_iter().map(|value| doc! { "v": value }).collect();
            reply(number, &doc! { "cursor": { "firstBatch": batch, "id": 0_i64 }, "ok": ok, "code": 11 })
        }).collect();
        let configuration = if policy { "{ rules: [{ action: deny, collections: [b] }] }" } else { "" };
        let whole = run(configuration, &requests, &answers, &[usize::MAX]);
        prop_assert_eq!(whole.0.get("mongo.mongo.decoding_error"), None);
        if !policy {
            prop_assert_eq!(&whole.1, &requests);
            prop_assert_eq!(&whole.2, &answers);
        }
        prop_assert_eq!(&run(configuration, &requests, &answers, &cuts), &whole);
        if requests.len() + answers.len() < 3000 {
            prop_assert_eq!(&run(configuration, &requests, &answers, &[1]), &whole);
        }
    }
}
