//! A document, opened no further than it is changed.
//!
//! What is not on the way to a changed field stays the text that it was: numbers keep their digits, nesting costs nothing, and nothing is
//! copied. Each object is opened once, however many changes lead into it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// It says it is JSON, and cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct NotJson;

/// A value.
#[derive(Debug)]
pub enum Node<'a> {
    /// As it came, or as the configuration has it.
    Closed(&'a RawValue),
    /// The fields of an object, in their order. A name may be there twice.
    Open(Members<'a>),
}

/// Names and values, in their order.
pub type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

impl<'a> Node<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, NotJson> {
        serde_json::from_slice(body).map(Self::Closed).map_err(|_| NotJson)
    }

    /// The fields, if it is an object.
    fn open(&mut self) -> Result<Option<&mut Members<'a>>, NotJson> {
        if let Self::Closed(raw) = self {
            if !raw.get().starts_with('{') {
                return Ok(None);
            }
            // A name that is no text, as of half a surrogate pair, is found only here.
            let Fields(fields) = serde_json::from_str(raw.get()).map_err(|_| NotJson)?;
            *self = Self::Open(fields);
        }
        match self {
            Self::Open(fields) => Ok(Some(fields)),
            Self::Closed(_) => Ok(None),
        }
    }

    /// Takes every field at this place out, and returns the last of them, which is the one that most readers see.
    pub fn take(&mut self, outer: &[String], last: &str) -> Result<Option<Self>, NotJson> {
        let Some(fields) = self.open()? else { return Ok(None) };
        let mut taken = None;
        match outer.split_first() {
            None => {
                fields.retain_mut(|(name, value)| {
                    let mine = name == last;
                    if mine {
                        taken = Some(std::mem::replace(value, Node::Open(Vec::new())));
                    }
                    !mine
                });
                // Thousands of objects may lose their only field.
                if fields.is_empty() {
                    *fields = Vec::new();
                }
            }
            Some((next, inner)) => {
                for (_, value) in fields.iter_mut().filter(|(name, _)| name == next) {
                    taken = value.take(inner, last)?.or(taken);
                }
            }
        }
        Ok(taken)
    }

    /// Puts a value there, in the place of those that have its name. Where the way leads through something that is no object, nothing
    /// happens.
    pub fn put(&mut self, outer: &'a [String], last: &'a str, value: Self) -> Result<(), NotJson> {
        let Some(fields) = self.open()? else { return Ok(()) };
        let Some((next, inner)) = outer.split_first() else {
            let at = fields.iter().position(|(name, _)| name == last).unwrap_or(fields.len());
            fields.retain(|(name, _)| name != last);
            fields.insert(at.min(fields.len()), (Cow::Borrowed(last), value));
            return Ok(());
        };
        if !fields.iter().any(|(name, _)| name == next) {
            fields.push((Cow::Borrowed(next), Node::Open(Vec::new())));
        }
        // Of several, the last is the one that counts.
        match fields.iter_mut().rfind(|(name, _)| name == next) {
            Some((_, object)) => object.put(inner, last, value),
            None => Ok(()),
        }
    }

    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), NotJson> {
        match self {
            Self::Closed(raw) => out.extend_from_slice(raw.get().as_bytes()),
            Self::Open(fields) => {
                out.push(b'{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_name(out, name)?;
                    out.push(b':');
                    value.write(out)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

/// Most names are written as they are.
fn write_name(out: &mut Vec<u8>, name: &str) -> Result<(), NotJson> {
    if name.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        return serde_json::to_writer(out, name).map_err(|_| NotJson);
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    Ok(())
}

struct Fields<'a>(Members<'a>);

/// A name without escapes is not copied.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                // Room for one: many small objects are the worst of bodies.
                let mut fields = Vec::with_capacity(1);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name, Node::Closed(value)));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
