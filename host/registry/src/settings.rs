//! What a registry is told.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::error::Problem;

/// Everything that a registry is told; each field has a default. Keys that nobody knows are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a host stays after its last heartbeat; default `10m`, lyft/discovery's `HOST_TTL`. 1 s to 1 d.
    #[serde(deserialize_with = "duration")]
    pub host_ttl: Duration,
    /// What `env` is in answers, as lyft/discovery's `APPLICATION_ENV`; default: there is none.
    pub env: Option<String>,
    /// Writing needs nothing; refused unless the registry listens on a loopback address. Default `false`.
    pub open: bool,
    /// Who may write, by tokens: YAML or JSON, `services: { users: [TOKEN or sha256:HEX, ...] }`. Read again when it changes.
    pub tokens_file: Option<PathBuf>,
    /// Reading needs a token, too: one of `read` in the tokens file, or one of the service that is read. Default `false`.
    pub read_tokens: bool,
    /// Loads that hosts report become weights for everybody else. Default `false`.
    pub load_weights: bool,
    /// Where the embedded store keeps what it knows across restarts; default: nowhere.
    pub state: Option<PathBuf>,
    /// A store that several registries share, instead of the embedded one.
    pub redis: Option<RedisSettings>,
    /// TLS; default: none.
    pub tls: Option<TlsSettings>,
    /// What is refused because it is too much.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host_ttl: Duration::from_secs(600),
            env: None,
            open: false,
            tokens_file: None,
            read_tokens: false,
            load_weights: false,
            state: None,
            redis: None,
            tls: None,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Whether these can be, together.
    ///
    /// # Errors
    /// The first field that cannot.
    pub fn check(&self) -> Result<(), Problem> {
        if !(Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(&self.host_ttl) {
            return Err(Problem::new("host_ttl", "must be 1s to 1d"));
        }
        if self.state.is_some() && self.redis.is_some() {
            return Err(Problem::new("state", "is where the embedded store keeps hosts; with `redis` there is none"));
        }
        if self.read_tokens && self.tokens_file.is_none() {
            return Err(Problem::new("read_tokens", "needs a tokens_file"));
        }
        if let Some(tls) = &self.tls {
            tls.check().map_err(|problem| problem.within("tls"))?;
        }
        self.limits.check().map_err(|problem| problem.within("limits"))
    }
}

/// A Redis server, or what speaks like one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://...` with TLS, or `redis+unix:///PATH[?db=DB]`.
    pub url: String,
    /// The password, when it should not stand in the URL; surrounding white space does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) that the server's must come from; default: what the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// What all names of keys begin with; default `fyke:registry:`. Registries with the same prefix are one.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// How long an answer may take before the server counts as away; default `1s`.
    #[serde(default = "second", deserialize_with = "duration")]
    pub timeout: Duration,
}

fn prefix() -> String {
    "fyke:registry:".to_owned()
}

fn second() -> Duration {
    Duration::from_secs(1)
}

/// TLS of the registry itself. The files are read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate and what leads to it (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// Clients may present certificates that come from these (PEM); which services those may write is in [`Self::names`].
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Names in a client's certificate by which it may write a service: URIs or DNS names, in which `{service}` is the service and `*` stands for one
    /// whole label or segment. Default `spiffe://*/{service}` and `{service}`.
    #[serde(default = "names")]
    pub names: Vec<String>,
}

fn names() -> Vec<String> {
    vec!["spiffe://*/{service}".to_owned(), "{service}".to_owned()]
}

impl TlsSettings {
    fn check(&self) -> Result<(), Problem> {
        match self.names.iter().position(|name| !name.contains("{service}")) {
            // Such a name would let its owner write everything.
            Some(index) => Err(Problem::new(format!("names[{index}]"), "must contain {service}")),
            None => Ok(()),
        }
    }
}

/// What is refused because it is too much. The bytes of a body (64 KiB) and the lengths of names are fixed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Services; default 10,000.
    pub services: usize,
    /// Hosts of one service; default 10,000.
    pub hosts_per_service: usize,
    /// Hosts in all; default 100,000.
    pub hosts: usize,
    /// Tags of one host; default 32. A name has at most 64 characters, a value 256.
    pub tags: usize,
    /// Readers that wait for a change; default 1,000.
    pub waiters: usize,
    /// How long a reader may wait; default `5m`. Who asks for more gets this.
    #[serde(deserialize_with = "duration")]
    pub wait: Duration,
    /// Connections; default 4,096. More wait in the kernel's queue.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            services: 10_000,
            hosts_per_service: 10_000,
            hosts: 100_000,
            tags: 32,
            waiters: 1_000,
            wait: Duration::from_secs(300),
            connections: 4_096,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), Problem> {
        let counts = [
            ("services", self.services),
            ("hosts_per_service", self.hosts_per_service),
            ("hosts", self.hosts),
            ("connections", self.connections),
        ];
        for (name, count) in counts {
            if !(1..=1_000_000).contains(&count) {
                return Err(Problem::new(name, "must be 1 to 1000000"));
            }
        }
        if self.waiters > 1_000_000 {
            return Err(Problem::new("waiters", "must be at most 1000000"));
        }
        if self.wait > Duration::from_secs(3600) {
            return Err(Problem::new("wait", "must be at most 1h"));
        }
        Ok(())
    }
}

/// `30s`, `10m`, `1h 30m`.
pub(crate) fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn nothing_at_all_is_a_registry() {
        let settings = read("{}");
        settings.check().unwrap();
        assert_eq!(settings.host_ttl, Duration::from_secs(600));
        assert!(!settings.open && !settings.load_weights && !settings.read_tokens);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (json, field) in [
            (r#"{"host_ttl": "10ms"}"#, "host_ttl"),
            (r#"{"state": "a", "redis": {"url": "redis://a"}}"#, "state"),
            (r#"{"read_tokens": true}"#, "read_tokens"),
            (r#"{"limits": {"hosts": 0}}"#, "limits.hosts"),
            (r#"{"limits": {"wait": "2h"}}"#, "limits.wait"),
            (r#"{"tls": {"certificate": "a", "key": "b", "names": ["spiffe://a/b"]}}"#, "tls.names[0]"),
        ] {
            assert_eq!(read(json).check().unwrap_err().field, field, "{json}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"hostttl": "10m"}"#).is_err());
        assert!(serde_json::from_str::<Settings>(r#"{"host_ttl": "soon"}"#).is_err());
    }
}
