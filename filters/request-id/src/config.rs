//! The configuration.

use fyke_sdk::FilterConfig;
use serde::Deserialize;

/// All keys have defaults.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What to do with an `x-request-id` that the client sent.
    pub request_id: Incoming,
    /// Whether the answer carries the id too. Default: false.
    pub response: bool,
    /// How many proxies in front of this one are ours. Default: 0, this is the edge.
    pub trusted_hops: u32,
    /// What becomes of `x-forwarded-*`.
    pub forwarded: Told,
}

/// What becomes of `x-forwarded-*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// They say who sent the request.
    #[default]
    Tell,
    /// They are what they were, and are believed; only a missing `x-forwarded-proto` is set. For proxies behind whoever tells.
    Keep,
}

/// What to do with an id that came with the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Incoming {
    /// Keep it if it is sane: one value of 1 to 128 visible ASCII characters.
    #[default]
    Keep,
    /// Never keep it.
    Replace,
}
