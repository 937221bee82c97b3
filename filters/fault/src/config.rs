//! The configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::{Percent, duration};
use serde::Deserialize;

/// All keys have defaults; without `delay`, `abort` and `by_header` nothing ever fails.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Waits before anything else happens.
    pub delay: Option<Delay>,
    /// Answers in the upstream's place.
    pub abort: Option<Abort>,
    /// Only requests whose headers have exactly these values. Default: all.
    pub headers: BTreeMap<String, String>,
    /// Whether requests may ask for faults of their own: `x-fault-delay: 250ms`, `x-fault-abort: 503`. Default: false.
    pub by_header: bool,
    /// How many requests may wait at the same time, on one worker; more are not delayed. Default: 1000.
    pub max_active: Option<u32>,
}

/// A wait.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// How long.
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// Of how many requests. Default: 100%.
    pub fraction: Option<Percent>,
}

/// An answer.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// 200 to 599.
    pub status: u16,
    /// What it says. Default: `fault filter abort`.
    pub body: Option<String>,
    /// Of how many requests. Default: 100%.
    pub fraction: Option<Percent>,
}
