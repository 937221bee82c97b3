//! Where hosts are, and which ones somebody means.

use std::net::{IpAddr, SocketAddr};

use crate::error::{Problem, shown};

/// An address that a connection can be made to. IPv4 within IPv6 is IPv4: one host is not two.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| format!("must be an IPv4 or IPv6 address, not {:?}", shown(text)))?;
    usable(ip.to_canonical())
}

fn usable(ip: IpAddr) -> Result<IpAddr, String> {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(format!("must be the address of one host, not {ip}"));
    }
    Ok(ip)
}

/// A host by address and port; without flow information and scope, which are no part of it.
pub(crate) fn place(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

/// `10.0.0.1:80`, `[fd00::1]:80`, as a host's address.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn host_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| format!("must be an address with a port, not {:?}", shown(text)))?;
    if address.port() == 0 {
        return Err("must have a port of 1 to 65535, not 0".to_owned());
    }
    if matches!(address, SocketAddr::V6(address) if address.scope_id() != 0) {
        return Err("must have no zone".to_owned());
    }
    Ok(place(usable(address.ip().to_canonical())?, address.port()))
}

/// Hosts of a service: all at an address, or the one at a port of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selector {
    /// Every port.
    Address(IpAddr),
    /// One host.
    Host(SocketAddr),
}

impl Selector {
    /// `10.0.0.1`, `10.0.0.1:80`, `fd00::1`, `[fd00::1]`, `[fd00::1]:80`. Without brackets everything behind an IPv6 address belongs to it.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let read = match inner {
            Some(inner) => ip(inner).map(Self::Address),
            None if text.parse::<SocketAddr>().is_ok() => host_address(text).map(Self::Host),
            None => ip(text).map(Self::Address),
        };
        read.map_err(|message| Problem::new("ip", message))
    }

    pub(crate) fn meets(&self, host: &SocketAddr) -> bool {
        match self {
            Self::Address(ip) => host.ip() == *ip,
            Self::Host(address) => host == address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_with_and_without_ports() {
        let host = |text: &str| Selector::Host(text.parse().unwrap());
        let address = |text: &str| Selector::Address(text.parse().unwrap());
        for (text, selector) in [
            ("10.0.0.1", address("10.0.0.1")),
            ("10.0.0.1:80", host("10.0.0.1:80")),
            ("fd00::1", address("fd00::1")),
            ("[fd00::1]", address("fd00::1")),
            ("[fd00::1]:80", host("[fd00::1]:80")),
            ("fd00::1:80", address("fd00::1:80")),
            ("::ffff:10.0.0.1", address("10.0.0.1")),
            ("[::ffff:10.0.0.1]:80", host("10.0.0.1:80")),
        ] {
            assert_eq!(Selector::parse(text).unwrap(), selector, "{text}");
        }
        for text in
            ["", "a", "10.0.0", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:70000", "[fd00::1", "0.0.0.0", "::", "224.0.0.1"]
        {
            assert_eq!(Selector::parse(text).unwrap_err().field, "ip", "{text}");
        }
        assert!(Selector::parse("[fe80::1%3]:80").is_err());
    }

    #[test]
    fn addresses_of_many_or_none_are_no_hosts() {
        for text in
            ["0.0.0.0", "255.255.255.255", "239.1.2.3", "::", "ff02::1", "::ffff:0.0.0.0", "1.2.3.4.5", "01.2.3.4"]
        {
            assert!(ip(text).is_err(), "{text}");
        }
        assert_eq!(ip("::ffff:10.1.2.3").unwrap(), ip("10.1.2.3").unwrap());
    }
}
