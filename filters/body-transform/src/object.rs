//! JSON objects, opened one level at a time.
//!
//! What is not on the way to a changed field stays text: numbers keep their digits, and nesting costs nothing.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an object, in their order. A name may be there twice.
#[derive(Debug, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// `None`: it is something else.
    pub fn open(value: &RawValue) -> Option<Self> {
        if value.get().starts_with('{') { serde_json::from_str(value.get()).ok() } else { None }
    }

    /// Takes every field of this name out, and returns the last of them, which is the one that most readers see.
    pub fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let mut taken = None;
        let mut at = 0;
        while let Some((key, _)) = self.0.get(at) {
            if key == name {
                taken = Some(self.0.remove(at).1);
            } else {
                at += 1;
            }
        }
        taken
    }

    /// Puts a value there, in the place of those that have its name.
    pub fn put(&mut self, name: &str, value: Box<RawValue>) {
        let at = self.0.iter().position(|(key, _)| key == name).unwrap_or(self.0.len());
        self.0.retain(|(key, _)| key != name);
        self.0.insert(at.min(self.0.len()), (name.to_owned(), value));
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Every value under this name.
    pub fn values_mut(&mut self, name: &str) -> impl Iterator<Item = &mut Box<RawValue>> {
        self.0.iter_mut().filter(move |(key, _)| key == name).map(|(_, value)| value)
    }

    pub fn close(&self) -> Option<Box<RawValue>> {
        let mut text = String::from("{");
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(name).ok()?);
            text.push(':');
            text.push_str(value.get());
        }
        text.push('}');
        RawValue::from_string(text).ok()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}
