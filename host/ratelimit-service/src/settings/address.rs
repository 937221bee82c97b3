//! Where a server is, as people write it and as Redis says it.

use std::fmt;

/// A host and a port. IPv6 has no brackets in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// `host:port`, `host`, `[::1]:port`. Redis writes `::1:port`: there the port is what comes last, see [`Address::of_redis`].
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                match rest.strip_prefix(':') {
                    None if rest.is_empty() => (host, None),
                    port => (host, Some(port?)),
                }
            }
            None => match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
        Self::new(host, port)
    }

    /// As it is in `MOVED`. Where no host is said, it is the one that says so; `?` is a host that it does not know.
    pub fn of_redis(text: &str, speaker: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::new(if host.is_empty() { speaker } else { host }, port.parse().ok()?)
    }

    /// `None` where it can be no name and no address.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(&b));
        (is_host && port > 0).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_addresses_in_several_ways() {
        let read = |text| Address::parse(text, 6379).map(|address| address.to_string());
        assert_eq!(read("10.0.0.2:7000").as_deref(), Some("10.0.0.2:7000"));
        assert_eq!(read("redis-0.redis").as_deref(), Some("redis-0.redis:6379"));
        assert_eq!(read("[::1]:7000").as_deref(), Some("[::1]:7000"));
        assert_eq!(read("::1").as_deref(), Some("[::1]:6379"));
        assert_eq!(read("[::1]").as_deref(), Some("[::1]:6379"));
        for wrong in ["", ":6379", "h:", "h:0", "h:70000", "redis://h:1", "u:p@h:1", "[::1]7", "[::1", "a b:1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn redis_writes_them_otherwise() {
        let read = |text| Address::of_redis(text, "me").map(|address| (address.host, address.port));
        assert_eq!(read("10.0.0.2:7000"), Some(("10.0.0.2".to_owned(), 7000)));
        assert_eq!(read("::1:7000"), Some(("::1".to_owned(), 7000)));
        assert_eq!(read(":7000"), Some(("me".to_owned(), 7000)));
        assert_eq!(read("?:7000"), None);
        assert_eq!(read("nonsense"), None);
    }
}
