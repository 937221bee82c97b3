//! Redis, as it is written.

use std::fmt;

use fyke_limiter::Span;
use fyke_sdk::FilterConfig;
use serde::Deserialize;

use super::FailureMode;

/// Redis servers that count rules with `global: true`, for all processes that name the same ones, and the same prefix.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// The servers; needs `allow: { clusters: [...] }`. Redis 5 or newer, or Valkey: one, a primary with its replicas, or all of Redis Cluster.
    pub cluster: String,
    /// As whom to log in. Default: the server's default user.
    #[serde(default)]
    pub user: String,
    /// Its password. Default: nobody logs in.
    #[serde(default)]
    pub password: String,
    /// The database. Default: 0.
    #[serde(default)]
    pub database: u32,
    /// What the names of all keys begin with. Of Redis Cluster, or a proxy before several servers, it must have a hash tag, `{limits}:`, so that all keys are in one slot.
    /// Default: `fyke:limit:`.
    pub prefix: Option<String>,
    /// How long a request waits for it, connecting included. Default: 20ms.
    pub timeout: Option<Span>,
    /// What becomes of requests while it cannot be asked. Default: the filter's own.
    pub failure_mode: Option<FailureMode>,
    /// With `failure_mode: local`: how many processes share the limits; each applies so many times less. Default: 1.
    pub peers: Option<u32>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Redis").field("cluster", &self.cluster).field("user", &self.user).finish_non_exhaustive()
    }
}
