//! Documents in pieces, and documents that are none.

use bson::{Bson, Document, doc};
use proptest::prelude::*;

use super::*;
use crate::tests::regex;

/// Writes down everything that it is told, and goes into everything.
#[derive(Debug, Default, PartialEq)]
struct Everything(Vec<String>);

impl Visit for Everything {
    fn wish(&self, context: u8, kind: u8, _name: &[u8]) -> Wish {
        if matches!(kind, kind::DOCUMENT | kind::ARRAY) { Wish::Enter(context + 1) } else { Wish::Take }
    }

    fn value(&mut self, context: u8, name: &[u8], value: Value<'_>) {
        self.0.push(format!("{context} {} {value:?}", String::from_utf8_lossy(name)));
    }

    fn enter(&mut self, context: u8, _kind: u8, name: &[u8], _inside: u8) {
        self.0.push(format!("{context} {} in", String::from_utf8_lossy(name)));
    }

    fn passed(&mut self, context: u8, kind: u8, name: &[u8]) {
        self.0.push(format!("{context} {} passed {kind}", String::from_utf8_lossy(name)));
    }

    fn leave(&mut self, context: u8, whole: Option<(u32, u32)>) {
        self.0.push(format!("out of {context} {whole:?}"));
    }
}

/// Walks through bytes that come in pieces.
fn walk(bytes: &[u8], cuts: &[usize], budget: usize) -> Result<Vec<String>, Broken> {
    let mut everything = Everything::default();
    let mut walker = Walker::default();
    walker.start(0, bytes.len(), budget);
    let (mut at, mut end, mut cuts) = (0, 0, cuts.iter().cycle());
    loop {
        let there = bytes.get(at.min(bytes.len())..end.min(bytes.len())).unwrap_or_default();
        let (used, next) = walker.step(there, &mut everything)?;
        at += used;
        match next {
            Next::Done => {
                assert_eq!(at, bytes.len());
                return Ok(everything.0);
            }
            Next::Skip(count) => at += count,
            Next::More(count) => {
                assert!(count > there.len() - used);
                assert!(at + count <= bytes.len(), "no document has that many");
                end = (end.max(at) + cuts.next().unwrap()).min(bytes.len());
            }
        }
    }
}

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        any::<f64>().prop_map(Bson::Double),
        any::<bool>().prop_map(Bson::Boolean),
        "[a-z]{0,20}".prop_map(Bson::String),
        Just(Bson::String("long".repeat(2000))),
        Just(Bson::Null),
        Just(Bson::MinKey),
        Just(Bson::Undefined),
        Just(Bson::ObjectId(bson::oid::ObjectId::from_bytes([7; 12]))),
        Just(Bson::JavaScriptCode("a".to_owned())),
        Just(Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
            code: "b".to_owned(),
            scope: doc! { "x": 1 }
        })),
        Just(regex("^ab")),
    ];
    leaf.prop_recursive(8, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec(("[a-z]{0,9}|x{300}", inner), 0..4)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn pieces_change_nothing(fields in prop::collection::vec(("[a-z]{1,9}|y{400}", value()), 0..6), cuts in prop::collection::vec(1_usize..50, 1..5), budget in 0_usize..400) {
        let document: Document = fields.into_iter().collect();
        let bytes = document.to_vec().unwrap();
        let whole = walk(&bytes, &[usize::MAX >> 1], budget).unwrap();
        prop_assert_eq!(&walk(&bytes, &cuts, budget).unwrap(), &whole);
        prop_assert_eq!(&walk(&bytes, &[1], budget).unwrap(), &whole);
        // What is at the first level is always seen.
        let seen = whole.iter().filter(|line| line.starts_with("0 ")).count();
        prop_assert_eq!(seen, document.keys().filter(|key| key.len() < NAME).count());
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0_u8..200) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_chunk_mut::<4>() {
            *first = [length, 0, 0, 0];
        }
        let mut walker = Walker::default();
        walker.start(0, bytes.len(), 1000);
        let mut everything = Everything::default();
        let (mut at, mut turns) = (0, 0);
        while let Ok((used, next)) = walker.step(bytes.get(at..).unwrap_or_default(), &mut everything) {
            turns += 1;
            prop_assert!(turns < 1000);
            at += used;
            match next {
                Next::Skip(count) => at += count,
                Next::More(_) | Next::Done => break,
            }
        }
    }
}

#[test]
fn lengths_are_checked_against_what_is_around_them() {
    for (bytes, broken) in [
        (&b"\x04\0\0\0\0"[..], Broken::Length),
        (b"\xff\xff\xff\xff\0", Broken::Length),
        (b"\x06\0\0\0\0\0", Broken::End),
        (b"\x05\0\0\0\x01", Broken::Length),
        (b"\x0d\0\0\0\x03a\0\x07\0\0\0\0\0", Broken::Length),
        (b"\x0d\0\0\0\x02a\0\xff\xff\xff\xff\0", Broken::Length),
        (b"\x08\0\0\0\x06abc", Broken::Length),
        (b"\x08\0\0\0\x20a\0\0", Broken::Kind),
    ] {
        assert_eq!(walk(bytes, &[1], 100), Err(broken), "{bytes:?}");
    }
}
