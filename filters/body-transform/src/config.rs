//! The configuration.

use std::collections::BTreeMap;

use fyke_sdk::FilterConfig;
use serde::Deserialize;
use serde_json::Value;

/// All keys have defaults; without changes, bodies are not looked at.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Changes to the bodies of requests. Default: none.
    pub request: Changes,
    /// Changes to the bodies of responses. Default: none.
    pub response: Changes,
    /// What becomes of a body that says it is JSON and is not. Default: pass.
    pub on_invalid: OnInvalid,
}

/// Made in this order: remove, rename, set. Fields are written with dots: `user.address.city`.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Fields that go.
    pub remove: Vec<String>,
    /// Fields that get another place; one that is not there stays away.
    pub rename: BTreeMap<String, String>,
    /// Fields that get this value; objects on the way are made.
    pub set: BTreeMap<String, Value>,
}

/// What becomes of a body that says it is JSON and is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// It passes as it is.
    #[default]
    Pass,
    /// 400 for a request, 502 for a response.
    Refuse,
}
