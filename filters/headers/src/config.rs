//! The configuration.

use std::collections::BTreeMap;

use fyke_sdk::FilterConfig;
use serde::Deserialize;

/// All keys have defaults.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Changes to requests. Default: none.
    pub request: Changes,
    /// Changes to responses, also to those of the proxy itself. Default: none.
    pub response: Changes,
}

/// Made in this order: remove, set, add. In values, `%{path}` is a property and `%%` a percent sign.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Removes every value.
    pub remove: Vec<String>,
    /// Makes it the only value.
    pub set: BTreeMap<String, String>,
    /// Adds a value behind those that are there.
    pub add: BTreeMap<String, String>,
}
