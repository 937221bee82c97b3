//! The ABI's serialized pairs: `u32` count, then the lengths of each key and value as `u32`, then each key and each value
//! with a NUL byte behind it. Little-endian.
//!
//! What comes from a guest is limited, and read as an empty list when anything about it is wrong: this is what
//! Envoy's host does, and there is no status for it.

use crate::host::Map;

/// Bytes that a serialized list may have.
const BYTES: usize = 1 << 20;
/// Pairs that a list may have.
const COUNT: usize = 1024;

/// A key and its value.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// The allocations behind decoded lists, kept from call to call.
#[derive(Default)]
pub(crate) struct PairsScratch {
    lists: [Vec<Pair<'static>>; 2],
    lower: Vec<u8>,
}

impl PairsScratch {
    /// Two empty lists and a buffer for keys. To be given back, lists first.
    pub(crate) fn take<'a>(&mut self) -> ([Vec<Pair<'a>>; 2], Vec<u8>) {
        let [first, second] = &mut self.lists;
        ([std::mem::take(first), std::mem::take(second)], std::mem::take(&mut self.lower))
    }

    /// Takes the lists back.
    pub(crate) fn put_lists(&mut self, lists: [Vec<Pair<'_>>; 2]) {
        self.lists = lists.map(emptied);
    }

    /// Takes the buffer back, from which the lists may have borrowed until just now.
    pub(crate) fn put_lower(&mut self, lower: Vec<u8>) {
        self.lower = lower;
    }
}

/// The allocation of a list for entries of another lifetime. An empty vector is collected in place.
fn emptied<'b>(mut list: Vec<Pair<'_>>) -> Vec<Pair<'b>> {
    list.clear();
    list.into_iter().map(|_| -> Pair<'b> { (&[], &[]) }).collect()
}

/// Decodes into `out`, which is empty afterwards if `bytes` are malformed or too long.
pub(crate) fn decode<'a>(bytes: &'a [u8], out: &mut Vec<Pair<'a>>) {
    out.clear();
    if bytes.len() > BYTES || try_decode(bytes, out).is_none() {
        out.clear();
    }
}

fn try_decode<'a>(bytes: &'a [u8], out: &mut Vec<Pair<'a>>) -> Option<()> {
    let mut lengths = bytes;
    let count = number(&mut lengths)?;
    if count > COUNT {
        return None;
    }
    let (mut lengths, mut data) = lengths.split_at_checked(count.checked_mul(8)?)?;
    for _ in 0..count {
        let key = number(&mut lengths)?;
        let value = number(&mut lengths)?;
        out.push((text(&mut data, key)?, text(&mut data, value)?));
    }
    Some(())
}

fn number(bytes: &mut &[u8]) -> Option<usize> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*first)).ok()
}

/// The next `length` bytes, which a NUL byte follows.
fn text<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (text, rest) = bytes.split_at_checked(length)?;
    let (terminator, rest) = rest.split_first()?;
    *bytes = rest;
    (*terminator == 0).then_some(text)
}

/// Makes the keys lower case; those that are not yet are copied to `buffer`.
pub(crate) fn lower_keys<'a>(list: &mut [Pair<'a>], buffer: &'a mut Vec<u8>) {
    if !list.iter().any(|(key, _)| has_upper(key)) {
        return;
    }
    buffer.clear();
    for (key, _) in list.iter().filter(|(key, _)| has_upper(key)) {
        buffer.extend(key.iter().map(u8::to_ascii_lowercase));
    }
    let mut lower: &'a [u8] = buffer;
    for (key, _) in list.iter_mut().filter(|(key, _)| has_upper(key)) {
        if let Some((first, rest)) = lower.split_at_checked(key.len()) {
            *key = first;
            lower = rest;
        }
    }
}

/// Whether there is an upper-case letter.
#[inline]
pub(crate) fn has_upper(key: &[u8]) -> bool {
    key.iter().any(u8::is_ascii_uppercase)
}

/// Bytes that `map` takes when serialized; none for an empty one.
pub(crate) fn encoded_length(map: &dyn Map) -> usize {
    if map.is_empty() {
        return 0;
    }
    let mut length = 4;
    map.for_each(&mut |key, value| length += 8 + key.len() + value.len() + 2);
    length
}

/// Appends `map` to `out`; nothing for an empty one.
pub(crate) fn encode(map: &dyn Map, out: &mut Vec<u8>) {
    if map.is_empty() {
        return;
    }
    let begin = out.len();
    // Counted rather than asked for: a guest trusts this number.
    let mut count = 0_u32;
    out.extend_from_slice(&count.to_le_bytes());
    map.for_each(&mut |key, value| {
        count += 1;
        out.extend_from_slice(&length(key));
        out.extend_from_slice(&length(value));
    });
    if let Some(place) = out.get_mut(begin..begin + 4) {
        place.copy_from_slice(&count.to_le_bytes());
    }
    map.for_each(&mut |key, value| {
        out.extend_from_slice(key);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    });
}

/// A header never has 4 GiB.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::host::Refused;

    struct List(Vec<(Vec<u8>, Vec<u8>)>);

    impl Map for List {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
            self.0.iter().for_each(|(key, value)| each(key, value));
        }
        fn get(&self, _: &[u8]) -> Option<&[u8]> {
            None
        }
        fn add(&mut self, _: &[u8], _: &[u8]) -> Result<(), Refused> {
            Err(Refused)
        }
        fn replace(&mut self, _: &[u8], _: &[u8]) -> Result<(), Refused> {
            Err(Refused)
        }
        fn remove(&mut self, _: &[u8]) -> Result<(), Refused> {
            Err(Refused)
        }
        fn replace_all(&mut self, _: &[(&[u8], &[u8])]) -> Result<(), Refused> {
            Err(Refused)
        }
    }

    fn encoded(pairs: &[(&str, &str)]) -> Vec<u8> {
        let list = List(pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect());
        let mut out = Vec::new();
        encode(&list, &mut out);
        assert_eq!(out.len(), encoded_length(&list));
        out
    }

    fn decoded(bytes: &[u8]) -> Vec<Pair<'_>> {
        let mut out = vec![(&b"left"[..], &b"over"[..])];
        decode(bytes, &mut out);
        out
    }

    /// A small generator of our own: the same sequence in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
        fn below(&mut self, limit: usize) -> usize {
            usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
        }
    }

    #[test]
    fn the_specification_s_example_has_these_bytes() {
        let expected = b"\x02\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0a\0\x31\0bb\0\0";
        assert_eq!(encoded(&[("a", "1"), ("bb", "")]), expected);
        assert_eq!(decoded(expected), [(&b"a"[..], &b"1"[..]), (b"bb", b"")]);
    }

    #[test]
    fn an_empty_map_is_nothing_and_nothing_is_an_empty_list() {
        assert_eq!(encoded(&[]), b"");
        assert!(decoded(b"").is_empty());
        assert!(decoded(b"\0").is_empty());
        assert!(decoded(b"\0\0\0\0").is_empty());
    }

    #[test]
    fn anything_malformed_is_an_empty_list() {
        let good = encoded(&[("a", "1"), ("bb", "22")]);
        for length in 0..good.len() {
            assert!(decoded(&good[..length]).is_empty(), "cut at {length}");
        }
        let mut no_terminator = good.clone();
        let last = no_terminator.len() - 1;
        no_terminator[last] = b'x';
        assert!(decoded(&no_terminator).is_empty());
        let mut long_key = good.clone();
        long_key[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decoded(&long_key).is_empty());
        assert!(decoded(&u32::MAX.to_le_bytes()).is_empty());
    }

    #[test]
    fn lists_beyond_the_limits_are_empty() {
        let pairs = vec![("a", "b"); COUNT];
        assert_eq!(decoded(&encoded(&pairs)).len(), COUNT);
        let pairs = vec![("a", "b"); COUNT + 1];
        assert!(decoded(&encoded(&pairs)).is_empty());
        let value = "v".repeat(BYTES - 4 - 8 - 3);
        assert_eq!(decoded(&encoded(&[("k", &value)])).len(), 1);
        let value = "v".repeat(BYTES - 4 - 8 - 2);
        assert!(decoded(&encoded(&[("k", &value)])).is_empty());
    }

    #[test]
    fn what_was_encoded_is_decoded_whatever_it_contains() {
        let mut random = Random(0x1234_5678_9abc_def1);
        for _ in 0..2_000 {
            let count = random.below(20);
            let mut word = |limit: usize| -> Vec<u8> {
                (0..random.below(limit)).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
            };
            let list = List((0..count).map(|_| (word(12), word(40))).collect());
            let mut out = Vec::new();
            encode(&list, &mut out);
            let back: Vec<_> = decoded(&out).into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            assert_eq!(back, list.0);
        }
    }

    #[test]
    fn no_bytes_panic_or_lead_outside() {
        let mut random = Random(0xdead_beef_0bad_cafe);
        for round in 0..20_000 {
            let mut bytes: Vec<u8> = if round % 2 == 0 {
                (0..random.below(64)).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
            } else {
                encoded(&[("key", "value"), ("X-Other", "")])
            };
            for _ in 0..random.below(4) {
                if !bytes.is_empty() {
                    let at = random.below(bytes.len());
                    bytes[at] = u8::try_from(random.below(256)).unwrap();
                }
            }
            let mut list = decoded(&bytes);
            let mut buffer = Vec::new();
            lower_keys(&mut list, &mut buffer);
            let total: usize = list.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
            assert!(total <= bytes.len());
            assert!(list.iter().all(|(key, _)| !has_upper(key)));
        }
    }

    #[test]
    fn only_keys_are_lowered_and_only_the_allocation_is_kept() {
        let bytes = encoded(&[("Accept", "A"), ("b", "B"), ("X-Y", "Z")]);
        let mut scratch = PairsScratch::default();
        let ([mut list, other], mut lower) = scratch.take();
        decode(&bytes, &mut list);
        let capacity = list.capacity();
        lower_keys(&mut list, &mut lower);
        assert_eq!(list, [(&b"accept"[..], &b"A"[..]), (b"b", b"B"), (b"x-y", b"Z")]);
        scratch.put_lists([list, other]);
        scratch.put_lower(lower);
        let ([list, _], _) = scratch.take();
        assert!(list.is_empty());
        assert_eq!(list.capacity(), capacity);
    }
}
