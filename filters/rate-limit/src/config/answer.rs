//! What clients are told, as it is written.

use std::collections::BTreeMap;

use fyke_sdk::FilterConfig;
use serde::Deserialize;

/// What clients are told.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// The status of refusals, 400 to 599. Default: 429.
    pub status: u16,
    /// The status of those that `deny` has, 400 to 599. Default: 403.
    pub deny_status: u16,
    /// The body of refusals. Default: `rate limited`.
    pub body: String,
    /// Its type. Default: `text/plain`.
    pub content_type: String,
    /// More headers of refusals. Default: none.
    pub headers: BTreeMap<String, String>,
    /// Whether refusals say when to come back (`retry-after`, in seconds). Default: true.
    pub retry_after: bool,
    /// Which answers have `ratelimit` and `ratelimit-policy`, of the IETF's draft-ietf-httpapi-ratelimit-headers. Default: `always`.
    pub ratelimit: Shown,
    /// Which answers have `x-ratelimit-limit`, `-remaining` and `-reset`. Default: `never`.
    pub x_ratelimit: Shown,
    /// Whether callers of gRPC are told RESOURCE_EXHAUSTED (8), and not what the host makes of the status (UNAVAILABLE of 429). Default: true.
    pub grpc_resource_exhausted: bool,
}

/// On which answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// On none.
    Never,
    /// On refusals.
    Refused,
    /// On all that a rule was about.
    Always,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 429,
            deny_status: 403,
            body: "rate limited".to_owned(),
            content_type: "text/plain".to_owned(),
            headers: BTreeMap::new(),
            retry_after: true,
            ratelimit: Shown::Always,
            x_ratelimit: Shown::Never,
            grpc_resource_exhausted: true,
        }
    }
}
