//! The configuration of the pool.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::units::{duration, optional_duration};
use fyke_sdk::{ConfigError, FilterConfig};
use serde::Deserialize;

use super::handshake::Credential;
use super::hello;
use super::scram::{self, Hash};

/// Clients share connections to the servers.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The cluster whose connections are shared. `allow: { clusters: [...] }` of the filter has to grant it. Another one, after a reload, is where new
    /// operations of all clients go from then on. Default: `mongo`; the listener's own is not known to filters.
    #[serde(default = "mongo")]
    pub cluster: String,
    /// Clusters that new operations went to before or will go to, at most 8: clients that are connected are switched between these and `cluster`, and go on there with
    /// cursors and transactions. Default: none.
    #[serde(default)]
    pub others: Vec<String>,
    /// What clients take the proxy for. Default: `auto`.
    #[serde(default)]
    pub persona: Persona,
    /// As whom the proxy logs in. Default: as nobody.
    #[serde(default)]
    pub user: String,
    /// Its password.
    #[serde(default)]
    pub password: String,
    /// The database that knows the user. Default: `admin`.
    #[serde(default)]
    pub source: Option<String>,
    /// How it proves the password. Default: `SCRAM-SHA-256` where the server knows it for the user, else `SCRAM-SHA-1`.
    #[serde(default)]
    pub mechanism: Option<Mechanism>,
    /// How clients prove who they are. Default: `trusted`.
    #[serde(default)]
    pub clients: Clients,
    /// With `clients: scram`: who may log in, by name.
    #[serde(default)]
    pub users: BTreeMap<String, User>,
    /// How long an operation waits for a connection. Default: the cluster's `connect_timeout`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(default, deserialize_with = "optional_duration")]
    pub queue_timeout: Option<Duration>,
    /// How long an operation waits for a server that can serve it, while a replica set elects a primary or no server can be reached; then it is answered with an
    /// error that drivers try again. `0s`: not at all. Default: `15s`, as of a mongos (`defaultFindReplicaSetHostTimeoutMS`).
    #[config(schema = r#""type":"string""#)]
    #[serde(default = "selection_timeout", deserialize_with = "duration")]
    pub selection_timeout: Duration,
    /// How long a server may say nothing while an operation is under way on a connection that is lent; then the operation fails with an error that drivers try
    /// again where they may. Operations that take longer without a word, such as aggregations, fail as well. `0s`: without end, unless the
    /// server fails its health checks. Default: `0s`.
    #[config(schema = r#""type":"string""#)]
    #[serde(default, deserialize_with = "duration")]
    pub reply_timeout: Duration,
    /// How long a client may keep a connection that is lent to it while it neither sends the rest of its request nor reads its reply; then it is
    /// disconnected. `0s`: for as long as its listener lets it idle. Default: `30s`.
    #[config(schema = r#""type":"string""#)]
    #[serde(default = "client_timeout", deserialize_with = "duration")]
    pub client_timeout: Duration,
    /// Connections that cursors which wait for news may have, 0 to 65535; 0: no limit of their own. Default: 0.
    #[serde(default)]
    pub long_lived: u16,
    /// Whether writes go on. Default: `allow`.
    #[serde(default)]
    pub writes: Writes,
}

fn selection_timeout() -> Duration {
    Duration::from_secs(15)
}

fn client_timeout() -> Duration {
    Duration::from_secs(30)
}

fn mongo() -> String {
    "mongo".to_owned()
}

/// What clients take the proxy for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Persona {
    /// A load balancer for those that say `loadBalanced=true`, a mongos for others.
    #[default]
    Auto,
    /// A load balancer; who does not say `loadBalanced=true` is refused.
    LoadBalanced,
    /// A mongos.
    Mongos,
}

/// A mechanism of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, FilterConfig)]
pub enum Mechanism {
    /// Users that were made since MongoDB 4.0.
    #[serde(rename = "SCRAM-SHA-256")]
    Sha256,
    /// Older ones.
    #[serde(rename = "SCRAM-SHA-1")]
    Sha1,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Clients {
    /// Not to this filter: whoever reaches the listener is a client, by TLS with certificates or because it is on loopback.
    #[default]
    Trusted,
    /// By SCRAM-SHA-256 or SCRAM-SHA-1 against what is stored of `users`. Before that nothing but greetings is answered.
    Scram,
}

/// Somebody who may log in.
#[derive(Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// The database that clients name when they log in (`authSource`). Default: `admin`.
    pub source: Option<String>,
    /// What is stored for SCRAM-SHA-256, as in `credentials` of MongoDB's `system.users`.
    pub scram_sha_256: Option<Stored>,
    /// The same for SCRAM-SHA-1.
    pub scram_sha_1: Option<Stored>,
    /// Databases that they may name: names, or beginnings with a star behind them. Default: all.
    pub databases: Vec<String>,
    /// As whom their operations go on. Default: as the pool's own user.
    pub upstream: Option<Upstream>,
}

/// What is stored of a password: enough to check it, and not enough to know it.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// `storedKey`, in base64.
    pub stored_key: String,
    /// `serverKey`, in base64.
    pub server_key: String,
    /// `salt`, in base64.
    pub salt: String,
    /// `iterationCount`, 4096 to 1000000.
    pub iterations: u32,
}

/// As whom the proxy logs in.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database that knows the user. Default: `admin`.
    #[serde(default)]
    pub source: Option<String>,
    /// How it proves the password. Default: as the pool's own user.
    #[serde(default)]
    pub mechanism: Option<Mechanism>,
}

/// What becomes of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// They go on.
    #[default]
    Allow,
    /// They are answered with an error upon which drivers try again.
    Deny,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the password.
        f.debug_struct("Pool").field("cluster", &self.cluster).field("user", &self.user).finish_non_exhaustive()
    }
}

impl User {
    /// The database that knows them.
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or("admin")
    }
}

impl Pool {
    /// As whom the proxy logs in, if it does.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn credential(&self) -> Result<Option<Credential>, ConfigError> {
        if self.user.is_empty() {
            let is_set = [
                (!self.password.is_empty(), "password"),
                (self.source.is_some(), "source"),
                (self.mechanism.is_some(), "mechanism"),
            ];
            return match is_set.into_iter().find(|(is, _)| *is) {
                Some((_, key)) => Err(ConfigError::at(key, "is of no use without `user`")),
                None => Ok(None),
            };
        }
        Ok(Some(credential(&self.user, &self.password, self.source.as_ref(), self.mechanism)?))
    }

    /// What clients take the proxy for.
    pub const fn persona(&self) -> hello::Persona {
        match self.persona {
            Persona::Auto => hello::Persona::Auto,
            Persona::LoadBalanced => hello::Persona::LoadBalanced,
            Persona::Mongos => hello::Persona::Mongos,
        }
    }
}

impl Upstream {
    /// The credential.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn credential(&self) -> Result<Credential, ConfigError> {
        if self.user.is_empty() {
            return Err(ConfigError::at("user", "must not be empty"));
        }
        credential(&self.user, &self.password, self.source.as_ref(), self.mechanism)
    }
}

fn credential(
    user: &str,
    password: &str,
    source: Option<&String>,
    mechanism: Option<Mechanism>,
) -> Result<Credential, ConfigError> {
    if password.is_empty() {
        return Err(ConfigError::at("password", "is missing"));
    }
    let mechanism = mechanism.map(|mechanism| match mechanism {
        Mechanism::Sha256 => Hash::Sha256,
        Mechanism::Sha1 => Hash::Sha1,
    });
    if mechanism != Some(Hash::Sha1) && scram::prepared_password(Hash::Sha256, user, password).is_err() {
        return Err(ConfigError::at("password", "has characters that SASLprep (RFC 4013) does not allow"));
    }
    let source = source.cloned().unwrap_or_else(|| "admin".to_owned());
    Ok(Credential { user: user.to_owned(), source, mechanism })
}
