//! Writes header fields for guests: a worker's stock of names and one piece of memory for many values.
//!
//! A filter writes the same few names on every request, and `http` allocates for each name that it does not know, for each value,
//! and once more for either when the map is copied. Here a known name is one comparison and a counter, and a short value is a
//! slice of a block that many values share.

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

/// One worker's.
pub struct Scribe {
    names: RefCell<Vec<Option<HeaderName>>>,
    block: RefCell<BytesMut>,
}

impl Default for Scribe {
    fn default() -> Self {
        Self { names: RefCell::new(vec![None; NAMES]), block: RefCell::default() }
    }
}

impl std::fmt::Debug for Scribe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scribe").finish_non_exhaustive()
    }
}

impl Scribe {
    /// Gives `f` a field's name. `None`: it is not one.
    pub fn name<T>(&self, name: &[u8], f: impl FnOnce(&HeaderName) -> T) -> Option<T> {
        let mut names = self.names.borrow_mut();
        let place = names.get_mut(place(name))?;
        if let Some(known) = place
            && known.as_str().as_bytes() == name
        {
            return Some(f(known));
        }
        let new = HeaderName::from_bytes(name).ok()?;
        if name.len() > LONGEST_NAME {
            return Some(f(&new));
        }
        Some(f(place.insert(new)))
    }

    /// A field's value. `None`: it may not stand in a message.
    #[must_use]
    pub fn value(&self, value: &[u8]) -> Option<HeaderValue> {
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
            assert!(scribe.name(bad, |_| ()).is_none(), "{bad:?}");
        }
        for bad in [&b"a\n"[..], b"\0", b"a\rb", &[b'\n'; 1000]] {
            assert!(scribe.value(bad).is_none(), "{bad:?}");
        }
        assert_eq!(scribe.value(b"").unwrap(), "");
    }

    #[test]
    fn a_known_name_is_the_same_bytes_and_never_another_one() {
        let scribe = Scribe::default();
        let first = scribe.name(b"x-first", HeaderName::clone).unwrap();
        let again = scribe.name(b"x-first", HeaderName::clone).unwrap();
        assert_eq!(first.as_str().as_ptr(), again.as_str().as_ptr());
        // Same length, first, middle and last byte.
        assert_eq!(scribe.name(b"x-fitst", HeaderName::clone).unwrap(), "x-fitst");
        assert_eq!(scribe.name(b"x-first", HeaderName::clone).unwrap(), "x-first");
    }

    proptest! {
        #[test]
        fn it_writes_what_http_would(names in prop::collection::vec("[a-zA-Z :-]{0,6}", 0..40), values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..60)) {
            let scribe = Scribe::default();
            for name in names.iter().chain(&names) {
                prop_assert_eq!(scribe.name(name.as_bytes(), HeaderName::clone), HeaderName::from_bytes(name.as_bytes()).ok());
            }
            let written: Vec<_> = values.iter().map(|value| scribe.value(value)).collect();
            for (value, written) in values.iter().zip(written) {
                prop_assert_eq!(written, HeaderValue::from_bytes(value).ok());
            }
        }
    }
}
