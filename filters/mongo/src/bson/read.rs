//! Reads documents that are there as a whole, in place: an iterator over the elements of one.
//!
//! Safe against any bytes: a broken element ends the iteration with one error. Inner documents are handed out as
//! slices and are read by whoever wants them, so depth costs nothing.

use super::{Broken, Size, Value, int32, prefixed, size};

/// The elements of one document.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
    broken: Option<Broken>,
}

/// The elements of `document`. A length that does not fit shows as an error on the first step.
pub fn elements(document: &[u8]) -> Elements<'_> {
    let body = int32(document, 0).and_then(|length| {
        let end = usize::try_from(length).ok()?.checked_sub(1)?;
        (*document.get(end)? == 0).then_some(document.get(4..end)?)
    });
    Elements { rest: body.unwrap_or_default(), broken: if body.is_none() { Some(Broken::Length) } else { None } }
}

/// The first value under `name`, if the document is sound up to there.
pub fn find<'a>(document: &'a [u8], name: &str) -> Option<Value<'a>> {
    elements(document).map_while(Result::ok).find(|(key, _)| *key == name).map(|(_, value)| value)
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(&'a str, Value<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(broken) = self.broken.take() {
            return Some(Err(broken));
        }
        if self.rest.is_empty() {
            return None;
        }
        let element = self.element();
        if element.is_err() {
            self.rest = &[];
        }
        Some(element)
    }
}

impl<'a> Elements<'a> {
    fn element(&mut self) -> Result<(&'a str, Value<'a>), Broken> {
        let (kind, rest) = self.rest.split_first().ok_or(Broken::End)?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or(Broken::End)?;
        let (name, rest) = rest.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        let length = match size(*kind)? {
            Size::Fixed(length) => length,
            Size::Prefixed(extra) => prefixed(*kind, extra, int32(rest, 0).ok_or(Broken::Length)?)?,
            Size::Texts => texts(rest).ok_or(Broken::End)?,
        };
        let (value, rest) = rest.split_at_checked(length).ok_or(Broken::Length)?;
        self.rest = rest;
        let name = std::str::from_utf8(name).map_err(|_| Broken::End)?;
        Ok((name, Value::read(*kind, value)))
    }
}

/// How long two texts are, each with its zero.
pub(super) fn texts(bytes: &[u8]) -> Option<usize> {
    let mut zeros = bytes.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at + 1);
    zeros.nth(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bson::write::Document;

    #[test]
    fn reads_what_the_writer_writes() {
        let mut document = Document::new();
        document.double("d", 1.5).string("s", "x\0y").bool("b", true).int32("i", -1).int64("l", i64::MIN);
        document.datetime("t", 7).object_id("o", [9; 12]).binary_of("u", 4, b"ab").document("e", |_| {});
        document.array("a", |a| {
            a.string("p");
        });
        let bytes = document.finish();
        let read: Vec<_> = elements(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(
            read[..9],
            [
                ("d", Value::Double(1.5)),
                ("s", Value::Text(b"x\0y")),
                ("b", Value::Boolean(true)),
                ("i", Value::Integer(-1)),
                ("l", Value::Integer(i64::MIN)),
                ("t", Value::Other(9)),
                ("o", Value::ObjectId([9; 12])),
                ("u", Value::Binary(b"ab")),
                ("e", Value::Document(&[5, 0, 0, 0, 0])),
            ]
        );
        let Value::Array(array) = read[9].1 else { panic!("not an array") };
        assert_eq!(elements(array).collect::<Vec<_>>(), [Ok(("0", Value::Text(b"p")))]);
    }

    #[test]
    fn every_type_of_the_drivers_is_got_over() {
        let document = bson::doc! {
            "r": crate::tests::regex("a"), "c": bson::Bson::JavaScriptCode("f()".into()), "z": bson::Bson::Null,
            "n": bson::Decimal128::from_bytes([1; 16]), "t": bson::Timestamp { time: 1, increment: 2 }, "end": 1,
        };
        let bytes = document.to_vec().unwrap();
        assert_eq!(find(&bytes, "end"), Some(Value::Integer(1)));
        assert_eq!(elements(&bytes).filter(Result::is_ok).count(), 6);
    }

    #[test]
    fn a_truncated_document_ends_in_one_error() {
        let mut document = Document::new();
        document.string("s", "text").int32("i", 1);
        let bytes = document.finish();
        for end in 0..bytes.len() {
            let read: Vec<_> = elements(&bytes[..end]).collect();
            assert_eq!(read, [Err(Broken::Length)], "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 5..200)) {
            let length = i32::try_from(bytes.len()).unwrap();
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            *bytes.last_mut().unwrap() = 0;
            prop_assert!(elements(&bytes).count() <= bytes.len());
            prop_assert!(elements(&bytes).filter(Result::is_err).count() <= 1);
        }
    }
}
