//! The configuration.

use std::fmt;

use fyke_sdk::{FilterConfig, Schema};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// All keys have defaults.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One of the configuration's `sinks:`. Default: standard output.
    pub sink: String,
    /// Default: `text`.
    pub format: Format,
    /// The line, for `text`. Default: the one of Envoy.
    pub template: Option<String>,
    /// The keys, for `json`: property paths, or format strings.
    pub fields: Option<Fields>,
}

/// What a record looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A line of text.
    #[default]
    Text,
    /// A JSON object on one line.
    Json,
}

/// Keys and where their values come from, in the order in which they were written.
#[derive(Debug)]
pub struct Fields(pub Vec<(String, String)>);

impl FilterConfig for Fields {
    const SCHEMA: Schema = Schema::text(r#""type":"object","additionalProperties":{"type":"string"}"#);
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of keys to property paths or format strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
