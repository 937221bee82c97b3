//! What was written, before anyone asks what it means: values with their places.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::config::source::Span;

/// Deeper nesting is refused, whatever the format.
pub(crate) const MAX_DEPTH: usize = 64;

/// A value and where it is.
#[derive(Clone)]
pub(crate) struct Node {
    /// Where. Of a map or a list, its beginning.
    pub span: Span,
    pub value: Value,
    /// The variable's name, when the value came from `!env`; such a value is never shown.
    pub env: Option<String>,
}

#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// Within `i64` or `u64`.
    Int(i128),
    /// Finite.
    Float(f64),
    String(String),
    Seq(Vec<Node>),
    /// In the order of writing; keys are unique.
    Map(Vec<(Key, Node)>),
    /// What could not be read, and has been reported. Kept so that it is not missing as well.
    Bad,
}

#[derive(Clone)]
pub(crate) struct Key {
    pub text: String,
    pub span: Span,
}

impl Node {
    pub fn new(span: Span, value: Value) -> Self {
        Self { span, value, env: None }
    }

    pub fn get(&self, key: &str) -> Option<(&Key, &Node)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(k, node)| (k, node)),
            _ => None,
        }
    }

    pub fn index(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::Seq(items) => items.get(index),
            _ => None,
        }
    }

    pub fn is_scalar(&self) -> bool {
        !matches!(self.value, Value::Seq(_) | Value::Map(_))
    }

    /// What it is, with its article, for "found ...". Secrets stay out.
    pub fn found(&self) -> String {
        if let Some(name) = &self.env {
            return format!("the value of !env {name}");
        }
        match &self.value {
            Value::Null | Value::Bad => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::String(value) => format!("the string {}", quote(value)),
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// The value itself, quoted, for `"x" is not an address`. Secrets stay out.
    pub fn shown(&self) -> String {
        match (&self.env, &self.value) {
            (None, Value::String(value)) => quote(value),
            _ => self.found(),
        }
    }
}

/// Quoted as JSON; long text is cut.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(LONGEST).collect();
    format!("{:?}", cut + "...")
}

/// `path.key`
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// `path[index]`
pub(crate) fn join_index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// The value with secrets in it, keys in the order of writing.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self, serializer, false)
    }
}

/// The same with `!env NAME` in the place of secrets.
pub(crate) struct Redacted<'a>(pub &'a Node);

impl Serialize for Redacted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self.0, serializer, true)
    }
}

fn serialize<S: Serializer>(node: &Node, serializer: S, redact: bool) -> Result<S::Ok, S::Error> {
    if let (Some(name), true) = (&node.env, redact) {
        return serializer.serialize_str(&format!("!env {name}"));
    }
    match &node.value {
        Value::Null | Value::Bad => serializer.serialize_unit(),
        Value::Bool(value) => serializer.serialize_bool(*value),
        Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
            (Ok(value), _) => serializer.serialize_i64(value),
            (_, Ok(value)) => serializer.serialize_u64(value),
            _ => serializer.serialize_i128(*value),
        },
        Value::Float(value) => serializer.serialize_f64(*value),
        Value::String(value) => serializer.serialize_str(value),
        Value::Seq(items) => {
            let mut seq = serializer.serialize_seq(Some(items.len()))?;
            for item in items {
                if redact { seq.serialize_element(&Redacted(item))? } else { seq.serialize_element(item)? }
            }
            seq.end()
        }
        Value::Map(entries) => {
            let mut map = serializer.serialize_map(Some(entries.len()))?;
            for (key, value) in entries {
                if redact {
                    map.serialize_entry(&key.text, &Redacted(value))?;
                } else {
                    map.serialize_entry(&key.text, value)?;
                }
            }
            map.end()
        }
    }
}
