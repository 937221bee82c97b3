//! Networks of addresses.

use std::net::IpAddr;

use fyke_sdk::ConfigError;
use fyke_sdk::property::without_port;
use ipnet::IpNet;

/// `10.0.0.0/8`, or one address.
pub fn network(text: &str) -> Result<IpNet, ConfigError> {
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse()
        .ok()
        .or_else(single)
        .ok_or_else(|| ConfigError::new(format!("{text:?} is no address, and no network such as 10.0.0.0/8")))
}

/// The address in `10.0.0.1:80` or `[::1]:80`. One of IPv4 that came over a socket of IPv6 is one of IPv4.
pub fn address_of(text: &[u8]) -> Option<IpAddr> {
    let address = std::str::from_utf8(without_port(text)).ok()?.parse::<IpAddr>().ok()?;
    Some(address.to_canonical())
}
