//! Where in a document: names of fields, one inside the other.

use fyke_sdk::ConfigError;
use serde_json::{Map, Value};

/// At least one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    outer: Vec<String>,
    last: String,
}

impl Path {
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut names: Vec<String> = text.split('.').map(str::to_owned).collect();
        match names.pop() {
            Some(last) if !last.is_empty() && names.iter().all(|name| !name.is_empty()) => {
                Ok(Self { outer: names, last })
            }
            _ => Err(ConfigError::new(format!("\"{text}\" is not a field, like user.name"))),
        }
    }

    /// Takes the field out, if it is there.
    pub fn remove(&self, document: &mut Value) -> Option<Value> {
        let object = self.outer.iter().try_fold(document, |value, name| value.get_mut(name))?;
        object.as_object_mut()?.shift_remove(&self.last)
    }

    /// Puts a value there. Where the way leads through something that is no object, nothing happens.
    pub fn set(&self, document: &mut Value, new: Value) -> bool {
        let mut object = document;
        for name in &self.outer {
            let Some(fields) = object.as_object_mut() else { return false };
            object = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
        }
        let Some(fields) = object.as_object_mut() else { return false };
        fields.insert(self.last.clone(), new);
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_made_and_removed() {
        let mut document = json!({ "a": { "b": 1 }, "c": [1] });
        assert!(Path::parse("a.x.y").unwrap().set(&mut document, json!(2)));
        assert!(!Path::parse("c.x").unwrap().set(&mut document, json!(2)), "not through an array");
        assert_eq!(Path::parse("a.b").unwrap().remove(&mut document), Some(json!(1)));
        assert_eq!(Path::parse("a.b.c").unwrap().remove(&mut document), None);
        assert_eq!(document, json!({ "a": { "x": { "y": 2 } }, "c": [1] }));
        for bad in ["", ".", "a.", ".a", "a..b"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }
}
