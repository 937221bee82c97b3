//! Where counters are that several services share.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fyke_limiter::Span;
use serde::Deserialize;

use super::address::Address;
use super::{duration, span};

/// The ports of servers and sentinels for which none is written.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Redis: one of `url`, `sentinel` and `cluster`. Passwords are not in its [`Debug`](fmt::Debug) form.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// One server: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, `unix:///path` for a socket.
    #[serde(default)]
    pub url: Option<String>,
    /// The primary that sentinels name.
    #[serde(default)]
    pub sentinel: Option<SentinelSettings>,
    /// Nodes of a Redis Cluster, `host[:port]`; one that answers is enough to find all.
    #[serde(default)]
    pub cluster: Option<Vec<String>>,
    /// With `sentinel` or `cluster`: as whom to log in at the servers, with a password. Default: the server's `default`.
    #[serde(default)]
    pub user: Option<String>,
    /// With `sentinel` or `cluster`: the password for the servers. Default: none.
    #[serde(default)]
    pub password: Option<String>,
    /// With `sentinel`: the number of the primary's database. Default: 0.
    #[serde(default)]
    pub database: Option<u32>,
    /// With `sentinel` or `cluster`: whether servers and sentinels are spoken to by TLS. Default: no.
    #[serde(default)]
    pub tls: bool,
    /// How long a request waits for Redis. Default: `20ms`.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// What becomes of a request while Redis is slow or away. Default: `local`.
    #[serde(default)]
    pub failure_mode: FailureMode,
    /// What all keys begin with. Services that share counters have the same. Default: `fyke:`.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// How many counters are remembered to be over their limit, so that Redis is not asked until their window ends. 0: none. Default: 100000.
    #[serde(default = "over_limit_cache")]
    pub over_limit_cache: usize,
    /// Who signs Redis' certificate, in PEM. Default: whom the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A certificate for Redis to see, in PEM, with `key`.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its key, in PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Sentinels, and what they call the primary. Passwords are not in its [`Debug`](fmt::Debug) form.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentinelSettings {
    /// What they call it, as in `sentinel monitor NAME ...`.
    pub name: String,
    /// Where they are: `host[:port]`, by default on port 26379.
    pub servers: Vec<String>,
    /// As whom to log in at the sentinels, with a password. Default: the sentinel's `default`.
    #[serde(default)]
    pub user: Option<String>,
    /// The password for the sentinels. Default: none.
    #[serde(default)]
    pub password: Option<String>,
}

/// What becomes of a request while Redis is slow or away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// This process' own counters decide: with N services, up to N times a limit passes.
    #[default]
    Local,
    /// It passes.
    Open,
    /// It is over its limit.
    Close,
    /// It fails with gRPC status `UNAVAILABLE`, or HTTP status 500, and the client decides: in Envoy, `failure_mode_deny`.
    Error,
}

/// Which servers [`RedisSettings`] are about.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Deployment<'s> {
    Server(&'s str),
    Sentinel { name: &'s str, addresses: Vec<Address>, login: (Option<&'s str>, Option<&'s str>) },
    Cluster(Vec<Address>),
}

impl RedisSettings {
    /// One server at a URL, and everything else by default.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::nowhere() }
    }

    /// The primary that sentinels at these addresses know by this name, and everything else by default.
    #[must_use]
    pub fn sentinel(name: impl Into<String>, servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let servers = servers.into_iter().map(Into::into).collect();
        let sentinel = SentinelSettings { name: name.into(), servers, user: None, password: None };
        Self { sentinel: Some(sentinel), ..Self::nowhere() }
    }

    /// A cluster with nodes at these addresses, and everything else by default.
    #[must_use]
    pub fn cluster(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { cluster: Some(servers.into_iter().map(Into::into).collect()), ..Self::nowhere() }
    }

    fn nowhere() -> Self {
        Self {
            url: None,
            sentinel: None,
            cluster: None,
            user: None,
            password: None,
            database: None,
            tls: false,
            timeout: timeout(),
            failure_mode: FailureMode::default(),
            prefix: prefix(),
            over_limit_cache: over_limit_cache(),
            ca: None,
            certificate: None,
            key: None,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        duration(self.timeout)
    }

    /// Which servers these are about; or what makes no sense, where and why.
    pub(crate) fn deployment(&self) -> Result<Deployment<'_>, (&'static str, String)> {
        match (&self.url, &self.sentinel, &self.cluster) {
            (Some(url), None, None) => {
                let with_url = [
                    ("redis.user", self.user.is_some()),
                    ("redis.password", self.password.is_some()),
                    ("redis.database", self.database.is_some()),
                    ("redis.tls", self.tls),
                ];
                match with_url.iter().find(|(_, is_there)| *is_there) {
                    Some((path, _)) => Err((path, "belongs into the url".to_owned())),
                    None => Ok(Deployment::Server(url)),
                }
            }
            (None, Some(sentinel), None) => {
                if sentinel.name.is_empty() {
                    return Err(("redis.sentinel.name", "must not be empty".to_owned()));
                }
                login("redis.sentinel.user", sentinel.user.as_ref(), sentinel.password.as_ref())?;
                login("redis.user", self.user.as_ref(), self.password.as_ref())?;
                let addresses = addresses("redis.sentinel.servers", &sentinel.servers, SENTINEL_PORT)?;
                let login = (sentinel.user.as_deref(), sentinel.password.as_deref());
                Ok(Deployment::Sentinel { name: &sentinel.name, addresses, login })
            }
            (None, None, Some(cluster)) => {
                if self.database.is_some() {
                    return Err(("redis.database", "a cluster has none".to_owned()));
                }
                login("redis.user", self.user.as_ref(), self.password.as_ref())?;
                Ok(Deployment::Cluster(addresses("redis.cluster", cluster, PORT)?))
            }
            (None, None, None) => Err(("redis", "needs one of url, sentinel and cluster".to_owned())),
            _ => Err(("redis", "has one of url, sentinel and cluster, not several".to_owned())),
        }
    }
}

fn addresses(path: &'static str, texts: &[String], default_port: u16) -> Result<Vec<Address>, (&'static str, String)> {
    if texts.is_empty() {
        return Err((path, "must have one at least".to_owned()));
    }
    let wrong = |text: &str| match text.contains('@') {
        // There may be a password before it.
        true => "expected host:port; who logs in is said by user and password".to_owned(),
        false => format!("expected host:port, not {text:?}"),
    };
    let read = |text: &String| Address::parse(text, default_port).ok_or_else(|| (path, wrong(text)));
    texts.iter().map(read).collect()
}

/// Without a password nobody logs in, and the user would be another one than is written.
fn login(path: &'static str, user: Option<&String>, password: Option<&String>) -> Result<(), (&'static str, String)> {
    match (user, password) {
        (Some(_), None) => Err((path, "needs a password beside it".to_owned())),
        _ => Ok(()),
    }
}

/// What serde says of a value of the wrong type, without that value: it may be a password, or have one in it.
pub(super) fn without_value(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((head, expected)) if head.starts_with("invalid type: ") || head.starts_with("invalid value: ") => {
            format!("expected {expected}")
        }
        _ => message.to_owned(),
    }
}

/// A password, as logs have it.
fn hidden(password: Option<&String>) -> Option<&'static str> {
    password.map(|_| "***")
}

/// A URL, without what is said of who logs in.
fn without_login(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://***@{host}")
        }
        None => url.to_owned(),
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            sentinel,
            cluster,
            user,
            password,
            database,
            tls,
            timeout,
            failure_mode,
            prefix,
            over_limit_cache,
            ca,
            certificate,
            key,
        } = self;
        f.debug_struct("RedisSettings")
            .field("url", &url.as_deref().map(without_login))
            .field("sentinel", sentinel)
            .field("cluster", &cluster.iter().flatten().map(|node| without_login(node)).collect::<Vec<_>>())
            .field("user", user)
            .field("password", &hidden(password.as_ref()))
            .field("database", database)
            .field("tls", tls)
            .field("timeout", timeout)
            .field("failure_mode", failure_mode)
            .field("prefix", prefix)
            .field("over_limit_cache", over_limit_cache)
            .field("ca", ca)
            .field("certificate", certificate)
            .field("key", key)
            .finish()
    }
}

impl fmt::Debug for SentinelSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, servers, user, password } = self;
        f.debug_struct("SentinelSettings")
            .field("name", name)
            .field("servers", &servers.iter().map(|server| without_login(server)).collect::<Vec<_>>())
            .field("user", user)
            .field("password", &hidden(password.as_ref()))
            .finish()
    }
}

const fn timeout() -> Span {
    span(20)
}

fn prefix() -> String {
    "fyke:".to_owned()
}

const fn over_limit_cache() -> usize {
    100_000
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn mistake(redis: &str) -> String {
        let text = format!("rules: r\nredis:\n{redis}\n");
        Settings::from_yaml("s", &text).err().map(|mistakes| mistakes.to_string()).unwrap_or_default()
    }

    #[test]
    fn servers_are_given_in_one_of_three_ways() {
        let text = "rules: r\nredis:\n  sentinel: { name: main, servers: [10.0.0.2, \"[::1]:1\"], password: p }\n  password: q";
        let redis = Settings::from_yaml("s", text).unwrap().redis.unwrap();
        let Ok(Deployment::Sentinel { name: "main", addresses, login: (None, Some("p")) }) = redis.deployment() else {
            panic!("{redis:?}")
        };
        let sentinels: Vec<_> = addresses.iter().map(Address::to_string).collect();
        assert_eq!(sentinels, ["10.0.0.2:26379", "[::1]:1"]);
        let redis = RedisSettings::cluster(["a", "b:1"]);
        let Ok(Deployment::Cluster(nodes)) = redis.deployment() else { panic!("{redis:?}") };
        assert_eq!(nodes.iter().map(Address::to_string).collect::<Vec<_>>(), ["a:6379", "b:1"]);

        assert_eq!(mistake("  timeout: 5ms"), "s:2:1: redis: needs one of url, sentinel and cluster");
        let both = mistake("  url: redis://h\n  cluster: [h]");
        assert_eq!(both, "s:2:1: redis: has one of url, sentinel and cluster, not several");
        assert_eq!(mistake("  url: redis://h\n  password: p"), "s:4:3: redis.password: belongs into the url");
        assert_eq!(mistake("  cluster: [h]\n  database: 1"), "s:4:3: redis.database: a cluster has none");
        assert_eq!(mistake("  cluster: []"), "s:3:3: redis.cluster: must have one at least");
        let address = mistake("  sentinel: { name: m, servers: [\"redis://h\"] }");
        assert_eq!(address, "s:3:24: redis.sentinel.servers: expected host:port, not \"redis://h\"");
        assert_eq!(mistake("  sentinel: { servers: [h] }"), "s:3:3: redis.sentinel: missing field `name`");
    }

    #[test]
    fn a_user_needs_a_password() {
        assert_eq!(mistake("  cluster: [h]\n  user: u"), "s:4:3: redis.user: needs a password beside it");
        let sentinel = "  sentinel: { name: m, servers: [h], user: u }\n  password: p";
        assert_eq!(mistake(sentinel), "s:3:38: redis.sentinel.user: needs a password beside it");
        let servers = "  sentinel: { name: m, servers: [h] }\n  user: u";
        assert_eq!(mistake(servers), "s:4:3: redis.user: needs a password beside it");
        assert_eq!(mistake("  cluster: [h]\n  user: u\n  password: \"\""), "");
    }

    #[test]
    fn nothing_says_a_password() {
        for redis in [
            "  cluster: [\"redis://:71077345@h\"]",
            "  cluster: \"redis://:71077345@h\"",
            "  sentinel: { name: m, servers: [\"u:71077345@h:1\"] }",
            "  sentinel: { name: m, servers: \"u:71077345@h:1\" }",
            "  sentinel: { name: m, servers: [h], password: 71077345 }",
            "  sentinel: \"redis://:71077345@h\"",
            "  cluster: [h]\n  password: 71077345",
            "  cluster: [h]\n  password: 71077345.5",
            "  cluster: [h]\n  password: [\"71077345, expected \"]",
            "  \"redis://:71077345@h\"",
        ] {
            let mistake = mistake(redis);
            assert!(!mistake.is_empty() && !mistake.contains("71077345"), "{redis}: {mistake}");
        }
        let number = mistake("  cluster: [h]\n  password: 1");
        assert_eq!(number, "s:4:3: redis.password: expected a string");

        let mut redis = RedisSettings::sentinel("main", ["u:71077345@h"]);
        let sentinel = redis.sentinel.as_mut().unwrap();
        sentinel.password = Some("71077345".to_owned());
        redis.password = Some("71077345".to_owned());
        redis.url = Some("redis://u:p@71077345@h:1/2".to_owned());
        redis.cluster = Some(vec!["redis://:71077345@h".to_owned()]);
        let text = format!("{redis:?}");
        assert!(!text.contains("71077345") && text.contains("redis://***@h:1/2"), "{text}");
    }
}
