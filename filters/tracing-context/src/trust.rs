//! Who is believed.

use std::net::IpAddr;

use fyke_sdk::ConfigError;
use fyke_sdk::property::{Path, without_port};
use ipnet::IpNet;

use crate::config::Trust;

/// Private, link-local, loopback: RFC 1918, 3927, 1122, 4193, 4291. Not the shared ones of RFC 6598, for carriers' clients have them.
const PRIVATE: [&str; 8] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

/// Whether the source of a request is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Trusted,
    Untrusted,
}

/// Tells sources apart.
#[derive(Debug)]
pub enum Judge {
    Fixed(Source),
    ByAddress { peer: Path, internal: Vec<IpNet> },
}

impl Judge {
    pub fn new(trust: Trust, networks: Option<&[String]>) -> Result<Self, ConfigError> {
        if networks.is_some() && trust != Trust::Internal {
            return Err(ConfigError::at("internal_networks", "means nothing without `trust: internal`"));
        }
        match trust {
            Trust::Always => return Ok(Self::Fixed(Source::Trusted)),
            Trust::Never => return Ok(Self::Fixed(Source::Untrusted)),
            Trust::Internal => {}
        }
        let parse = |(at, text): (usize, &str)| network(text).map_err(|error| error.under(format!("[{at}]")));
        let internal: Result<Vec<IpNet>, ConfigError> = match networks {
            Some(networks) => networks.iter().map(String::as_str).enumerate().map(parse).collect(),
            None => PRIVATE.into_iter().enumerate().map(parse).collect(),
        };
        let internal = internal.map_err(|error| error.under("internal_networks"))?;
        Ok(Self::ByAddress { peer: Path::new(&["source", "address"]), internal })
    }

    /// Of the current stream.
    pub fn source(&self) -> Source {
        match self {
            Self::Fixed(source) => *source,
            Self::ByAddress { peer, internal } => match peer.read() {
                Some(address) if is_internal(&address, internal) => Source::Trusted,
                _ => Source::Untrusted,
            },
        }
    }
}

/// Whoever comes through a file is on this machine, and was let in by its mode.
fn is_internal(address: &[u8], internal: &[IpNet]) -> bool {
    if matches!(address, [] | [b'/' | b'@', ..]) || address.starts_with(b"unix:") {
        return true;
    }
    let address = std::str::from_utf8(without_port(address)).ok().and_then(|text| text.parse::<IpAddr>().ok());
    let Some(address) = address.map(|address| address.to_canonical()) else { return false };
    internal.iter().any(|network| network.contains(&address))
}

fn network(text: &str) -> Result<IpNet, ConfigError> {
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse()
        .ok()
        .or_else(single)
        .ok_or_else(|| ConfigError::new(format!("\"{text}\" is neither a network, like 10.0.0.0/8, nor an address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_internal_is_known_by_its_address() {
        let Judge::ByAddress { internal, .. } = Judge::new(Trust::Internal, None).unwrap() else { panic!() };
        for address in [
            "10.1.2.3:80",
            "172.31.0.1:1",
            "192.168.1.1:1",
            "127.0.0.1:1",
            "[::1]:1",
            "[fd00::1]:1",
            "[::ffff:10.0.0.1]:1",
            "",
            "/run/a.sock",
        ] {
            assert!(is_internal(address.as_bytes(), &internal), "{address}");
        }
        for address in [
            "8.8.8.8:53",
            "100.64.0.1:1",
            "172.32.0.1:1",
            "[2001:db8::1]:1",
            "[::ffff:8.8.8.8]:1",
            "name",
            "10.0.0.1.evil:1",
        ] {
            assert!(!is_internal(address.as_bytes(), &internal), "{address}");
        }
    }

    #[test]
    fn networks_may_be_single_addresses() {
        let networks = ["203.0.113.7".to_owned(), "2001:db8::/32".to_owned()];
        let Judge::ByAddress { internal, .. } = Judge::new(Trust::Internal, Some(&networks)).unwrap() else { panic!() };
        assert!(is_internal(b"203.0.113.7:1", &internal) && is_internal(b"[2001:db8::5]:1", &internal));
        assert!(!is_internal(b"203.0.113.8:1", &internal) && !is_internal(b"10.0.0.1:1", &internal));
    }
}
