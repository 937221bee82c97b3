//! The configuration.

use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::optional_duration;
use serde::Deserialize;

/// Which pages of other origins may do what.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://app.example.com`, with its port where it has one; `https://*.example.com` for every name below; `*` for all.
    pub allow_origins: Vec<String>,
    /// What preflights are told is allowed. Default: GET, HEAD and POST.
    #[serde(default = "simple_methods")]
    pub allow_methods: Vec<String>,
    /// Request headers that pages may set beyond the harmless ones; `*` for all that they ask for. Default: none.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Response headers that pages may read beyond the harmless ones. Default: none.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Whether requests may carry cookies. Not together with the origin `*`. Default: false.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long browsers may remember a preflight's answer. Default: they decide.
    #[serde(default, deserialize_with = "optional_duration")]
    pub max_age: Option<Duration>,
}

fn simple_methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(str::to_owned).to_vec()
}
