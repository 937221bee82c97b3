//! Envoy's v3 configuration as Fyke's, and a client of the protocol by which control planes send it.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use fyke_envoy::{Format, Schema, Translator};
//!
//! let translator = Translator::new(Schema::load()?);
//! let bootstrap = "admin: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } }";
//! let conversion = translator.convert(bootstrap, Format::Yaml)?;
//! assert_eq!(conversion.config["admin"]["address"], "127.0.0.1:9901");
//! assert!(conversion.findings.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Messages come as YAML, JSON or protobuf, and all are brought into one form by Envoy's descriptors (`canonical`); that is what
//! `translate` reads. What it does not know is told ([`Finding`]), because a reader knows what nobody has asked it for (`reader`).
//! The crate knows Fyke's configuration by its words only: it depends on no other crate of Fyke, and on no Wasm engine.

#![forbid(unsafe_code)]

mod canonical;
mod finding;
mod place;
mod reader;
mod schema;
mod text;
mod translate;
mod units;
pub mod xds;
mod yaml;

pub use canonical::Undecodable;
pub use finding::{Finding, Severity};
pub use place::ResourceKind;
pub use schema::{Schema, SchemaError, type_name};
pub use text::{Format, Unreadable};
pub use translate::{Conversion, InlineFiles, Resources, Translator};

use serde_json::Value;

/// A resource in canonical form, from protobuf.
///
/// # Errors
/// The type is not known, or the bytes are malformed.
pub fn decode(schema: &Schema, type_url: &str, bytes: &[u8]) -> Result<Value, Undecodable> {
    canonical::from_bytes(schema, type_url, bytes)
}

/// A resource in canonical form, from proto3's JSON mapping: `message` is its full name, `envoy.config.cluster.v3.Cluster`. What does not fit is
/// kept, and becomes a finding when it is translated.
#[must_use]
pub fn canonical(schema: &Schema, message: &str, value: Value) -> Value {
    canonical::from_json(schema, type_name(message), value)
}
