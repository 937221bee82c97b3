//! Writes header fields for guests: a worker's stock of names, each with the value that it always has, and one piece of memory for other values.
//!
//! A filter writes the same few names on every request, most of them with the same value, and `http` allocates for each name that it does not know,
//! for each value, and once more for either when the map is copied. Here a known name or value is one comparison and a counter, and a short value that
//! is new is a slice of a block that many values share.

use std::cell::RefCell;

use bytes::BytesMut;
use http::{HeaderName, HeaderValue};

/// Names that are kept. A name has one place; another one with the same place takes it over.
const NAMES: usize = 128;
/// Longer names are not kept.
const LONGEST_NAME: usize = 64;
/// A block of values. What is written on one request is gone with it, so a block is soon free again.
const BLOCK: usize = 8 * 1024;
/// Longer values have memory of their own, so that none of them keeps a block alive.
const LONGEST_VALUE: usize = 256;
/// Longer values are not kept.
const LONGEST_KEPT: usize = 48;

/// One worker's.
pub struct Scribe {
    known: RefCell<Vec<Option<Known>>>,
    block: RefCell<BytesMut>,
}

/// A name that has been written.
struct Known {
    name: HeaderName,
    /// The value that it had twice in a row, with memory of its own.
    usual: Option<HeaderValue>,
    /// The last one.
    last: ([u8; LONGEST_KEPT], usize),
}

impl Default for Scribe {
    fn default() -> Self {
        Self { known: RefCell::new((0..NAMES).map(|_| None).collect()), block: RefCell::default() }
    }
}

impl std::fmt::Debug for Scribe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scribe").finish_non_exhaustive()
    }
}

impl Scribe {
    /// Gives `f` a field's name and value. `None`: one of them may not stand in a message.
    pub fn field<T>(&self, name: &[u8], value: &[u8], f: impl FnOnce(&HeaderName, HeaderValue) -> T) -> Option<T> {
        let mut known = self.known.borrow_mut();
        let place = known.get_mut(place(name))?;
        let known = match place {
            Some(known) if known.name.as_str().as_bytes() == name => known,
            _ => {
                let new = HeaderName::from_bytes(name).ok()?;
                if name.len() > LONGEST_NAME {
                    return Some(f(&new, self.value(value)?));
                }
                place.insert(Known { name: new, usual: None, last: ([0; LONGEST_KEPT], 0) })
            }
        };
        let value = match known.usual(value) {
            Some(usual) => usual,
            None => self.value(value)?,
        };
        Some(f(&known.name, value))
    }

    fn value(&self, value: &[u8]) -> Option<HeaderValue> {
        if value.len() > LONGEST_VALUE {
            return HeaderValue::from_bytes(value).ok();
        }
        let mut block = self.block.borrow_mut();
        if block.capacity() < value.len() {
            // A new block, not a larger one: whoever still holds a part of the old one keeps only that.
            *block = BytesMut::with_capacity(BLOCK);
        }
        block.extend_from_slice(value);
        HeaderValue::from_maybe_shared(block.split().freeze()).ok()
    }
}

impl Known {
    /// The value, if it has been the last one, too.
    fn usual(&mut self, value: &[u8]) -> Option<HeaderValue> {
        if let Some(usual) = self.usual.as_ref().filter(|usual| usual.as_bytes() == value) {
            return Some(usual.clone());
        }
        let (bytes, length) = &mut self.last;
        let place = bytes.get_mut(..value.len())?;
        if *length == value.len() && place == value {
            self.usual = HeaderValue::from_bytes(value).ok();
            return self.usual.clone();
        }
        place.copy_from_slice(value);
        *length = value.len();
        None
    }
}

/// Length, first, middle and last byte tell nearly all of a filter's names apart.
fn place(name: &[u8]) -> usize {
    let byte = |at: usize| name.get(at).copied().map_or(0, usize::from);
    let length = name.len();
    (length.wrapping_mul(31)
        ^ byte(0).wrapping_mul(7)
        ^ byte(length / 2).wrapping_mul(13)
        ^ byte(length.wrapping_sub(1)))
        % NAMES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_name_or_value_is_refused() {
        let scribe = Scribe::default();
        for bad in [&b""[..], b"a b", b"a\n", b"\xff", b"a:"] {
            assert!(scribe.field(bad, b"a", |_, _| ()).is_none(), "{bad:?}");
        }
        // However often.
        for bad in [&b"a\n"[..], b"a\n", b"a\n", b"\xff\0"] {
            assert!(scribe.field(b"a", bad, |_, _| ()).is_none(), "{bad:?}");
        }
        for bad in [&b"a\n"[..], b"\0", b"a\rb", &[b'\n'; 1000]] {
            assert!(scribe.value(bad).is_none(), "{bad:?}");
        }
        assert_eq!(scribe.value(b"").unwrap(), "");
    }

    #[test]
    fn a_known_name_is_the_same_bytes_and_never_another_one() {
        let scribe = Scribe::default();
        let name = |name: &[u8]| scribe.field(name, b"", |name, _| name.clone()).unwrap();
        assert_eq!(name(b"x-first").as_str().as_ptr(), name(b"x-first").as_str().as_ptr());
        // Same length, first, middle and last byte.
        assert_eq!(name(b"x-fitst"), "x-fitst");
        assert_eq!(name(b"x-first"), "x-first");
    }

    #[test]
    fn the_usual_value_is_the_same_bytes_and_others_come_between() {
        let scribe = Scribe::default();
        let value = |value: &[u8]| scribe.field(b"x-first", value, |_, value| value).unwrap();
        let usual = [value(b"seen"), value(b"seen"), value(b"seen")].map(|value| value.as_bytes().as_ptr());
        assert!(usual[0] != usual[1] && usual[1] == usual[2]);
        assert_eq!(value(b"other"), "other");
        assert_eq!(value(b"seen").as_bytes().as_ptr(), usual[1]);
        let long = [b'a'; LONGEST_KEPT + 1];
        assert_ne!(value(&long).as_bytes().as_ptr(), value(&long).as_bytes().as_ptr());
    }

    proptest! {
        #[test]
        fn it_writes_what_http_would(names in prop::collection::vec("[a-zA-Z :-]{0,6}", 0..40), values in prop::collection::vec(prop_oneof![prop::collection::vec(b' '..=b'~', 0..4), prop::collection::vec(any::<u8>(), 0..400)], 0..40)) {
            let scribe = Scribe::default();
            let pairs: Vec<_> = names.iter().flat_map(|name| values.iter().chain(values.first()).map(move |value| (name.as_bytes(), value))).collect();
            let written: Vec<_> = pairs.iter().map(|(name, value)| scribe.field(name, value, |name, value| (name.clone(), value))).collect();
            for ((name, value), written) in pairs.into_iter().zip(written) {
                prop_assert_eq!(written, HeaderName::from_bytes(name).ok().zip(HeaderValue::from_bytes(value).ok()));
            }
        }
    }
}
