//! Faults on purpose.

use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::Percent;
use serde::Deserialize;

use super::Match;

/// Faults on purpose. Of an operation both are drawn, each for itself; it waits first.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which operations they are about.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Operations that wait.
    #[serde(default)]
    pub delay: Option<Delay>,
    /// Operations that fail.
    #[serde(default)]
    pub abort: Option<Abort>,
}

/// Operations that wait.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// How long one waits before anything else happens to it, up to 5 minutes; what its client says meanwhile waits behind it.
    #[config(schema = r#""type":"string""#)]
    #[serde(deserialize_with = "fyke_sdk::units::duration")]
    pub duration: Duration,
    /// How many of them. Default: 100%.
    #[serde(default)]
    pub percentage: Option<Percent>,
}

/// Operations that fail: they are answered in the server's place, and those that ask for no answer are left out.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// The error's number, as MongoDB has them.
    pub code: i32,
    /// Its name. Default: MongoDB's for the errors that drivers act upon, else none.
    #[serde(default)]
    pub code_name: Option<String>,
    /// What it says.
    #[serde(default)]
    pub message: Option<String>,
    /// Labels that drivers act upon, `RetryableWriteError` and the like. Default: none.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How many of them. Default: 100%.
    #[serde(default)]
    pub percentage: Option<Percent>,
}
