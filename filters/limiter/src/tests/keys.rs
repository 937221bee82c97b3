//! Keys, shares of them, and the busiest.

use proptest::prelude::*;

use crate::{KeyBuilder, LONGEST_KEY, Seed, TopKeys, includes};

fn key(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = KeyBuilder::new(Seed::of([1, 2]));
    parts.iter().for_each(|part| builder.push(part));
    builder.key().to_vec()
}

fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(
        prop_oneof![prop::collection::vec(0_u8..3, 0..4), prop::collection::vec(any::<u8>(), 60..300)],
        0..8,
    )
}

proptest! {
    #[test]
    fn other_parts_make_other_keys(one in parts(), other in parts()) {
        prop_assert_eq!(one == other, key(&one) == key(&other));
    }

    #[test]
    fn keys_are_short(parts in parts()) {
        prop_assert!(key(&parts).len() <= LONGEST_KEY);
    }

    /// The sketch's promise: it never counts too little, and its error is no more than its share.
    #[test]
    fn the_sketch_keeps_its_promise(stream in prop::collection::vec(prop_oneof![0..5_u8, any::<u8>()], 1..2000)) {
        let mut sketch = TopKeys::new(16);
        let mut exact = std::collections::HashMap::<u8, u64>::new();
        for key in &stream {
            sketch.add(&[*key], 1);
            *exact.entry(*key).or_default() += 1;
        }
        let share = stream.len() as u64 / 16;
        let top = sketch.top(16);
        for counter in &top {
            let count = exact[&counter.key[0]];
            prop_assert!(counter.count >= count && counter.count - counter.error <= count && counter.error <= share);
        }
        for (key, count) in exact {
            prop_assert!(count <= share || top.iter().any(|counter| *counter.key == [key]), "{} came {} times", key, count);
        }
    }
}

#[test]
fn a_header_of_64_kib_is_a_short_key_that_depends_on_all_of_it() {
    let mut long = vec![b'a'; 65_536];
    let one = key(&[long.clone()]);
    long[65_535] = b'b';
    let other = key(&[long]);
    assert!(one != other && one.len() == 17 && other.len() == 17);
}

#[test]
fn a_short_part_cannot_pass_for_a_hash() {
    let long = vec![b'a'; 65];
    let hashed = key(&[long]);
    assert_ne!(key(std::slice::from_ref(&hashed)), hashed);
    assert_ne!(key(&[hashed[1..].to_vec()]), hashed);
}

#[test]
fn shares_are_stable_nested_and_about_as_large_as_they_say() {
    let among =
        |share: f64| (0..10_000_u32).filter(|n| includes(b"limit", &n.to_le_bytes(), share)).collect::<Vec<_>>();
    let (tenth, half) = (among(0.1), among(0.5));
    assert!((900..1100).contains(&tenth.len()) && (4800..5200).contains(&half.len()));
    assert!(tenth.iter().all(|n| half.contains(n)));
    assert_eq!((among(0.0).len(), among(1.0).len()), (0, 10_000));
    // Written down, so that a new version lets the same ones through.
    assert_eq!(tenth[..4], STABLE);
    let other =
        (0..10_000_u32).filter(|n| includes(b"other", &n.to_le_bytes(), 0.1)).filter(|n| tenth.contains(n)).count();
    assert!(other < 200, "{other}");
}

const STABLE: [u32; 4] = [26, 27, 48, 58];

#[test]
fn ageing_forgets_what_was_busy_once() {
    let mut sketch = TopKeys::new(2);
    sketch.add(b"old", 100);
    (0..8).for_each(|_| sketch.age());
    sketch.add(b"new", 5);
    sketch.add(b"newer", 1);
    assert_eq!(&*sketch.top(1)[0].key, b"new");
}
