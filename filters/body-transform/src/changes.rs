//! What is done to one document.

use fyke_sdk::ConfigError;
use serde_json::value::RawValue;

use crate::config;
use crate::document::{Node, NotJson};
use crate::path::Path;

/// Changes, ready to be made.
#[derive(Debug, Default)]
pub struct Changes {
    remove: Vec<Path>,
    rename: Vec<(Path, Path)>,
    set: Vec<(Path, Box<RawValue>)>,
}

impl Changes {
    pub fn build(raw: config::Changes) -> Result<Self, ConfigError> {
        let mut changes = Self::default();
        for (at, field) in raw.remove.iter().enumerate() {
            changes.remove.push(Path::parse(field).map_err(|error| error.under(format!("remove[{at}]")))?);
        }
        for (from, to) in raw.rename {
            let under = |error: ConfigError| error.under(format!("rename.{from}"));
            changes.rename.push((Path::parse(&from).map_err(under)?, Path::parse(&to).map_err(under)?));
        }
        for (field, value) in raw.set {
            let path = Path::parse(&field).map_err(|error| error.under("set"))?;
            let value = RawValue::from_string(value.to_string());
            let value = value.map_err(|error| ConfigError::at(format!("set.{field}"), error.to_string()))?;
            changes.set.push((path, value));
        }
        Ok(changes)
    }

    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rename.is_empty() && self.set.is_empty()
    }

    /// The document with the changes made.
    pub fn apply(&self, body: &[u8]) -> Result<Vec<u8>, NotJson> {
        let mut document = Node::parse(body)?;
        for path in &self.remove {
            path.take(&mut document)?;
        }
        for (from, to) in &self.rename {
            if let Some(value) = from.take(&mut document)? {
                to.put(&mut document, value)?;
            }
        }
        for (path, value) in &self.set {
            path.put(&mut document, Node::Closed(value))?;
        }
        let mut changed = Vec::with_capacity(body.len());
        document.write(&mut changed)?;
        Ok(changed)
    }
}
