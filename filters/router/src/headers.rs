//! Changes to headers, of requests, responses, and answers that the router gives itself.
//!
//! They are made level by level, as in Envoy: the weighted cluster's, the route's, the virtual host's, the router's.
//! Within one level: remove, set, `set_if_present`, add, `add_if_absent`; its values are read before anything of it is
//! changed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fyke_sdk::{ConfigError, Headers, Result, Template, header_name, header_value};

use crate::config;

/// The changes of one level.
#[derive(Debug, Default)]
pub struct HeaderChanges {
    remove: Vec<String>,
    writes: Vec<(Manner, String, Value)>,
}

#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Envoy's `OVERWRITE_IF_EXISTS_OR_ADD`.
    Set,
    /// Envoy's `OVERWRITE_IF_EXISTS`.
    SetIfPresent,
    /// Envoy's `APPEND_IF_EXISTS_OR_ADD`.
    Add,
    /// Envoy's `ADD_IF_ABSENT`.
    AddIfAbsent,
}

/// A header's value: text, perhaps with properties in it.
#[derive(Debug)]
pub enum Value {
    Literal(String),
    Template(Template),
}

impl Value {
    pub fn build(text: String) -> Result<Self, ConfigError> {
        let template = Template::parse(&header_value(text)?).map_err(ConfigError::new)?;
        Ok(match template.literal() {
            Some(text) => Self::Literal(text.to_owned()),
            None => Self::Template(template),
        })
    }

    /// `None`: the stream has nothing of what the value speaks of.
    pub fn render(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Literal(text) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Template(template) => template.render().map(printable).map(Cow::Owned),
        }
    }
}

/// A property may contain anything; a header's value is one line.
fn printable(mut value: Vec<u8>) -> Vec<u8> {
    for byte in &mut value {
        if (*byte < b' ' && *byte != b'\t') || *byte == 0x7f {
            *byte = b'_';
        }
    }
    value
}

/// What headers can be changed of.
pub trait Target {
    fn has(&self, name: &str) -> bool;
    fn write(&mut self, name: &str, value: &[u8]) -> Result<()>;
    fn beside(&mut self, name: &str, value: &[u8]) -> Result<()>;
    fn delete(&mut self, name: &str) -> Result<()>;
}

impl Target for Headers {
    fn has(&self, name: &str) -> bool {
        self.contains(name)
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.set(name, value)
    }

    fn beside(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.add(name, value)
    }

    fn delete(&mut self, name: &str) -> Result<()> {
        self.remove(name)
    }
}

/// Headers of an answer that is not sent yet. Names are in lower case.
impl Target for Vec<(String, Vec<u8>)> {
    fn has(&self, name: &str) -> bool {
        self.iter().any(|(known, _)| known == name)
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.delete(name)?;
        self.beside(name, value)
    }

    fn beside(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.push((name.to_owned(), value.to_vec()));
        Ok(())
    }

    fn delete(&mut self, name: &str) -> Result<()> {
        self.retain(|(known, _)| known != name);
        Ok(())
    }
}

impl HeaderChanges {
    pub fn build(raw: Option<config::HeaderChanges>, of: Of) -> Result<Self, ConfigError> {
        let config::HeaderChanges { set, set_if_present, add, add_if_absent, remove } = raw.unwrap_or_default();
        let remove = remove
            .iter()
            .enumerate()
            .map(|(at, name)| changed_name(name, of).map_err(|error| error.under(format!("remove[{at}]"))));
        let remove = remove.collect::<Result<_, _>>()?;
        let mut writes = Vec::new();
        for (manner, key, raw) in [
            (Manner::Set, "set", set),
            (Manner::SetIfPresent, "set_if_present", set_if_present),
            (Manner::Add, "add", add),
            (Manner::AddIfAbsent, "add_if_absent", add_if_absent),
        ] {
            let values = values(raw, of).map_err(|error| error.under(key))?;
            writes.extend(values.into_iter().map(|(name, value)| (manner, name, value)));
        }
        Ok(Self { remove, writes })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.writes.is_empty()
    }

    /// Makes them.
    pub fn apply(&self, headers: &mut impl Target) -> Result<()> {
        // Literal values are not copied, so that the usual case allocates nothing.
        let is_template = |value: &&Value| matches!(value, Value::Template(_));
        let rendered: Vec<_> =
            self.writes.iter().map(|(_, _, value)| value).filter(is_template).map(Value::render).collect();
        let mut rendered = rendered.into_iter();
        for name in &self.remove {
            headers.delete(name)?;
        }
        for (manner, name, value) in &self.writes {
            let value = match value {
                Value::Literal(text) => Some(Cow::Borrowed(text.as_bytes())),
                Value::Template(_) => rendered.next().flatten(),
            };
            match (manner, value) {
                (Manner::Set, Some(value)) => headers.write(name, &value)?,
                (Manner::SetIfPresent, Some(value)) if headers.has(name) => headers.write(name, &value)?,
                (Manner::Add, Some(value)) => headers.beside(name, &value)?,
                (Manner::AddIfAbsent, Some(value)) if !headers.has(name) => headers.beside(name, &value)?,
                // What somebody else says under this name is not what was meant.
                (Manner::Set | Manner::SetIfPresent, None) => headers.delete(name)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whose headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Request,
    Response,
}

/// Names and values, in order of the names.
pub fn values(raw: BTreeMap<String, String>, of: Of) -> Result<Vec<(String, Value)>, ConfigError> {
    raw.into_iter()
        .map(|(name, value)| {
            let checked = changed_name(&name, of).and_then(|lower| Ok((lower, Value::build(value)?)));
            checked.map_err(|error| error.under(name))
        })
        .collect()
}

/// A header that a route may change.
fn changed_name(name: &str, of: Of) -> Result<String, ConfigError> {
    if name.starts_with(':') {
        return Err(ConfigError::new("pseudo headers are changed by `rewrite` only"));
    }
    if of == Of::Request && name.eq_ignore_ascii_case("host") {
        return Err(ConfigError::new("is `rewrite: { host: ... }`"));
    }
    header_name(name)
}
