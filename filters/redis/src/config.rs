//! The configuration.

use std::time::Duration;

use fyke_sdk::units::optional_duration;
use fyke_sdk::{ConfigError, FilterConfig};
use serde::Deserialize;

/// All keys have defaults.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Counts by prefixes of keys. Default: not by them.
    pub prefix: Option<Prefix>,
    /// Commands of one connection that may wait for their replies, 1 to 65535; beyond, the client's next ones wait. Default: 1024.
    pub in_flight: u16,
    /// Clients share connections to the servers. Default: each has its own.
    pub pool: Option<Pool>,
}

impl Default for Config {
    fn default() -> Self {
        Self { prefix: None, in_flight: 1024, pool: None }
    }
}

/// What of a key is its prefix.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Prefix {
    /// What ends it, 1 to 8 bytes; a key without one has no prefix. Default: `:`.
    pub delimiter: String,
    /// How many parts it has at most, 1 to 8. Default: 1.
    pub depth: u8,
    /// The longest in bytes, 1 to 128; what is longer is cut. Default: 64.
    pub maximum_length: u16,
    /// How many a worker keeps; more are `_overflow`. Default: 100.
    pub values: u16,
}

impl Default for Prefix {
    fn default() -> Self {
        Self { delimiter: ":".to_owned(), depth: 1, maximum_length: 64, values: 100 }
    }
}

/// Clients share connections to the servers.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The cluster whose connections are shared. `allow: { clusters: [...] }` of the filter has to grant it.
    pub cluster: String,
    /// As whom the proxy logs in. Default: the server's default user.
    #[serde(default)]
    pub user: String,
    /// Its password. Default: the proxy does not log in.
    #[serde(default)]
    pub password: String,
    /// The database in which clients begin. Default: 0.
    #[serde(default)]
    pub database: u16,
    /// How many databases clients may select. Default: 16, as in Redis.
    #[serde(default)]
    pub databases: Option<u16>,
    /// How clients prove who they are. Default: not to this filter.
    #[serde(default)]
    pub clients: Option<Credential>,
    /// How long a command waits for a connection. Default: the cluster's `connect_timeout`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(default, deserialize_with = "optional_duration")]
    pub queue_timeout: Option<Duration>,
    /// How long a server may say nothing while a command is under way; then its client is told that the connection is lost. Commands that block for longer
    /// fail as well. `0s`: without end, unless the server fails its health checks. Default: `0s`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(default, deserialize_with = "optional_duration")]
    pub reply_timeout: Option<Duration>,
    /// How long a client may keep a connection that is lent to it while it neither sends the rest of its command nor reads its reply; then it is
    /// disconnected. `0s`: for as long as its listener lets it idle. Default: `30s`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(default, deserialize_with = "optional_duration")]
    pub client_timeout: Option<Duration>,
    /// Connections that subscriptions, `MONITOR` and commands that block may have in the process; 0: no limit of their own. Default: 16.
    #[serde(default)]
    pub long_lived: Option<u16>,
    /// Commands that arrived together and go over one connection together, 1 to 1024. Default: 128.
    #[serde(default)]
    pub batch: Option<u16>,
    /// The version that `HELLO` is answered with. Default: `7.0.0`.
    #[serde(default)]
    pub server_version: Option<String>,
}

/// Who clients have to be.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The name. Default: `default`, which is also who says `AUTH` without a name.
    #[serde(default)]
    pub user: Option<String>,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the passwords.
        f.debug_struct("Pool").field("cluster", &self.cluster).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Config {
    /// What serde cannot check.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.in_flight == 0 {
            return Err(ConfigError::at("in_flight", "must be at least 1"));
        }
        if let Some(prefix) = &self.prefix {
            prefix.check().map_err(|error| error.under("prefix"))?;
        }
        self.pool.as_ref().map_or(Ok(()), |pool| pool.check().map_err(|error| error.under("pool")))
    }
}

impl Prefix {
    fn check(&self) -> Result<(), ConfigError> {
        if !(1..=8).contains(&self.delimiter.len()) {
            return Err(ConfigError::at("delimiter", "must have 1 to 8 bytes"));
        }
        if !(1..=8).contains(&self.depth) {
            return Err(ConfigError::at("depth", "must be from 1 to 8"));
        }
        if !(1..=128).contains(&self.maximum_length) {
            return Err(ConfigError::at("maximum_length", "must be from 1 to 128"));
        }
        Ok(())
    }
}

impl Pool {
    /// How many databases there are.
    pub fn databases(&self) -> u16 {
        self.databases.unwrap_or(16)
    }

    /// How many commands go together.
    pub fn batch(&self) -> u16 {
        self.batch.unwrap_or(128)
    }

    /// The version that clients are told.
    pub fn server_version(&self) -> &str {
        self.server_version.as_deref().unwrap_or("7.0.0")
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.cluster.is_empty() {
            return Err(ConfigError::at("cluster", "must not be empty"));
        }
        if !self.user.is_empty() && self.password.is_empty() {
            return Err(ConfigError::at("password", "is missing"));
        }
        if self.database >= self.databases() {
            return Err(ConfigError::at("database", format!("must be less than `databases`, {}", self.databases())));
        }
        if self.clients.as_ref().is_some_and(|clients| clients.password.is_empty()) {
            return Err(ConfigError::at("clients.password", "must not be empty"));
        }
        if !(1..=1024).contains(&self.batch()) {
            return Err(ConfigError::at("batch", "must be from 1 to 1024"));
        }
        let version = self.server_version();
        if version.is_empty() || version.len() > 32 || !version.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::at("server_version", "must be 1 to 32 characters without spaces"));
        }
        Ok(())
    }
}
