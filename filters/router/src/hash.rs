//! The number that `ring_hash` and `maglev` pick an endpoint by: Envoy's `hash_policy`, computed as Envoy computes it.
//!
//! Each part that a request has is hashed with xxHash64, seed 0; the sum so far is rotated left by one before the next
//! is added to it by exclusive or, so that two equal parts do not cancel each other out.

use fyke_sdk::{ConfigError, SetCookie, Template, header_name, random};
use xxhash_rust::xxh64::xxh64;

use crate::config;
use crate::rewrite::Substitution;
use crate::scan;
use crate::subject::Subject;
use crate::values::query_value;

/// Parts in order.
#[derive(Debug, Default)]
pub struct HashPolicy {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    source: Source,
    /// What follows does not count, once there is a hash.
    terminal: bool,
}

#[derive(Debug)]
enum Source {
    Header { name: String, regex: Option<Substitution> },
    Cookie { name: String, new: Option<SetCookieTemplate> },
    Query(String),
    Address(Template),
}

/// The cookie for a client that has none.
#[derive(Debug)]
struct SetCookieTemplate {
    ttl: std::time::Duration,
    path: Option<String>,
    attributes: Vec<(String, String)>,
}

/// A cookie that the router invented for this stream, and that its response sets.
#[derive(Debug)]
pub struct NewCookie {
    name: String,
    value: String,
    pub header: String,
}

impl HashPolicy {
    pub fn build(raw: Vec<config::Hash>) -> Result<Self, ConfigError> {
        let parts = raw.into_iter().enumerate();
        let parts = parts.map(|(at, raw)| Part::build(raw).map_err(|error| error.under(format!("[{at}]"))));
        Ok(Self { parts: parts.collect::<Result<_, _>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether it may need to set a cookie.
    pub fn sets_cookies(&self) -> bool {
        self.parts.iter().any(|part| matches!(&part.source, Source::Cookie { new: Some(_), .. }))
    }

    /// The hash, if the request has anything of what is hashed. A cookie that had to be invented is in `cookies`
    /// afterwards, and one that is there already is used again.
    pub fn hash(&self, subject: &Subject<'_>, cookies: &mut Vec<NewCookie>) -> Option<u64> {
        let mut hash: Option<u64> = None;
        for part in &self.parts {
            if let Some(new) = part.source.hash(subject, cookies) {
                hash = Some(hash.map_or(0, |old| old.rotate_left(1)) ^ new);
            }
            if part.terminal && hash.is_some() {
                break;
            }
        }
        hash
    }
}

impl Part {
    fn build(raw: config::Hash) -> Result<Self, ConfigError> {
        let config::Hash { header, header_regex, cookie, query, source_address, terminal } = raw;
        if header_regex.is_some() && header.is_none() {
            return Err(ConfigError::at("header_regex", "means nothing without `header`"));
        }
        let regex = header_regex.as_ref().map(Substitution::build).transpose();
        let regex = regex.map_err(|error| error.under("header_regex"))?;
        let source = match (header, cookie, query, source_address) {
            (Some(name), None, None, None) => {
                Source::Header { name: header_name(&name).map_err(|error| error.under("header"))?, regex }
            }
            (None, Some(cookie), None, None) => Source::cookie(cookie).map_err(|error| error.under("cookie"))?,
            (None, None, Some(name), None) if name.is_empty() => {
                return Err(ConfigError::at("query", "must not be empty"));
            }
            (None, None, Some(name), None) => Source::Query(name),
            (None, None, None, Some(true)) => {
                Source::Address(Template::parse("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%").map_err(ConfigError::new)?)
            }
            (None, None, None, Some(false)) => {
                return Err(ConfigError::at("source_address", "must be true; leave it out otherwise"));
            }
            _ => return Err(ConfigError::new("needs exactly one of header, cookie, query and source_address")),
        };
        Ok(Self { source, terminal })
    }
}

impl Source {
    fn cookie(raw: config::CookieHash) -> Result<Self, ConfigError> {
        let config::CookieHash { name, ttl, path, attributes } = raw;
        if ttl.is_none() && (path.is_some() || !attributes.is_empty()) {
            return Err(ConfigError::new("sets no cookie without `ttl`, so that path and attributes mean nothing"));
        }
        if let Some((bad, _)) =
            attributes.iter().find(|(key, value)| key.is_empty() || format!("{key}{value}").contains(';'))
        {
            return Err(ConfigError::at("attributes", format!("\"{bad}\" is not an attribute of a cookie")));
        }
        if path.as_ref().is_some_and(|path| path.contains(';')) {
            return Err(ConfigError::at("path", "must not contain ';'"));
        }
        let new = ttl.map(|ttl| SetCookieTemplate { ttl, path, attributes: attributes.into_iter().collect() });
        // What is wrong shows in any cookie of the kind.
        let probe = new.as_ref().map_or_else(|| SetCookie::new(&name, "0"), |new| new.make(&name, "0"));
        probe.to_header().map_err(|error| ConfigError::new(error.to_string()))?;
        Ok(Self::Cookie { name, new })
    }

    fn hash(&self, subject: &Subject<'_>, cookies: &mut Vec<NewCookie>) -> Option<u64> {
        match self {
            Self::Header { name, regex } => header(subject, name, regex.as_ref()),
            Self::Query(name) => query_value(subject.query, name).map(|value| xxh64(&value, 0)),
            Self::Address(address) => address.render().map(|address| xxh64(&address, 0)),
            Self::Cookie { name, new } => {
                let sent =
                    subject.cookie(name, |value| value.filter(|value| !value.is_empty()).map(|value| xxh64(value, 0)));
                sent.or_else(|| Some(xxh64(invented(name, new.as_ref()?, cookies)?.as_bytes(), 0)))
            }
        }
    }
}

/// All values of a header, sorted, each hashed with what came before as its seed: their order does not matter.
fn header(subject: &Subject<'_>, name: &str, regex: Option<&Substitution>) -> Option<u64> {
    let mut values = subject.request.values(name);
    if let Some(regex) = regex {
        for value in &mut values {
            *value = regex.apply(value, scan::Part::Header, &subject.scan);
        }
    }
    values.sort_unstable();
    values.into_iter().fold(None, |hash, value| Some(xxh64(&value, hash.unwrap_or(0))))
}

/// The value of the cookie that this stream's client gets.
fn invented<'c>(name: &str, new: &SetCookieTemplate, cookies: &'c mut Vec<NewCookie>) -> Option<&'c str> {
    if !cookies.iter().any(|cookie| cookie.name == name) {
        let value = format!("{:016x}", random::number());
        let header = new.make(name, &value).to_header().ok()?;
        cookies.push(NewCookie { name: name.to_owned(), value, header });
    }
    cookies.iter().find(|cookie| cookie.name == name).map(|cookie| cookie.value.as_str())
}

impl SetCookieTemplate {
    fn make(&self, name: &str, value: &str) -> SetCookie {
        let mut cookie = SetCookie::new(name, value);
        if !self.ttl.is_zero() {
            cookie = cookie.max_age(self.ttl);
        }
        if let Some(path) = &self.path {
            cookie = cookie.path(path);
        }
        self.attributes.iter().fold(cookie, |cookie, (name, value)| cookie.attribute(name, value))
    }
}
