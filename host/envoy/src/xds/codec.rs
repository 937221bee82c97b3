//! From a resource's bytes to what is known of it.

use bytes::Bytes;
use serde_json::Value;

use super::{ResourceType, references};
use crate::{Schema, decode, type_name};

/// A resource that could be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    pub name: String,
    pub value: Value,
    pub references: Vec<(ResourceType, String)>,
}

/// Reads resources. The machine is tested with one that knows no protobuf.
pub(super) trait Codec: Send {
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, kind: ResourceType, type_url: &str, bytes: &Bytes) -> Result<Decoded, String>;
}

/// By Envoy's descriptors.
pub(super) struct BySchema(pub Schema);

impl Codec for BySchema {
    fn read(&self, kind: ResourceType, type_url: &str, bytes: &Bytes) -> Result<Decoded, String> {
        if type_name(type_url) != kind.message() {
            return Err(format!("is a {:?}, and not a {:?}", type_name(type_url), kind.message()));
        }
        let value = decode(&self.0, type_url, bytes).map_err(|error| error.to_string())?;
        let name = value.get(kind.name_field()).and_then(Value::as_str).unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err("has no name".to_owned());
        }
        let references = references(kind, &value);
        Ok(Decoded { name, value, references })
    }
}
