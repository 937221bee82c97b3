//! Networks in matchers.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Why a network is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither a network nor an address.
    #[error("`{0}` is neither a network such as `10.0.0.0/8` nor an address")]
    Syntax(String),
    /// A length that the family does not have.
    #[error("`{written}`: a length of {length} is beyond {most}")]
    Length {
        /// What was written.
        written: String,
        /// The length in it.
        length: String,
        /// The longest of the family.
        most: u8,
    },
    /// An address with bits behind the network's length: a slip, as a rule.
    #[error("`{written}` has bits beyond its length; did you mean `{meant}`?")]
    HostBits {
        /// What was written.
        written: String,
        /// The network that it is in.
        meant: IpNet,
    },
}

/// A network, `10.0.0.0/8` or `fd00::/8`; an address is a network of one. A network of IPv4 addresses written as IPv6
/// becomes IPv4.
///
/// # Errors
/// [`NetworkError`], in words for the one who wrote it.
pub fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
    let syntax = || NetworkError::Syntax(text.to_owned());
    let Some((address, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical())).map_err(|_| syntax());
    };
    let address: IpAddr = address.parse().map_err(|_| syntax())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(syntax());
    }
    let network = length.parse().ok().and_then(|length| IpNet::new(address, length).ok());
    let Some(network) = network else {
        return Err(NetworkError::Length { written: text.to_owned(), length: length.to_owned(), most });
    };
    if network.trunc() != network {
        return Err(NetworkError::HostBits { written: text.to_owned(), meant: network.trunc() });
    }
    Ok(canonical(network))
}

/// All networks, or all that is wrong with them.
///
/// # Errors
/// One [`NetworkError`] for each that is none, in their order.
pub fn parse_networks<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<IpNet>, Vec<NetworkError>> {
    let (mut networks, mut errors) = (Vec::new(), Vec::new());
    for text in texts {
        match parse_network(text) {
            Ok(network) => networks.push(network),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(networks) } else { Err(errors) }
}

/// Addresses are compared in their canonical form, so networks have to be.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else { return network };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    match four.map(|(address, length)| Ipv4Net::new(address, length)) {
        Some(Ok(four)) => four.into(),
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_read() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_in_words() {
        for (text, part) in [
            ("", "neither"),
            ("ten", "neither"),
            ("10.0.0.0/", "neither"),
            ("10.0.0.0/+8", "neither"),
            ("10.0.0.0/8/8", "neither"),
            ("10.0.0/8", "neither"),
            ("10.0.0.0/33", "beyond 32"),
            ("fd00::/129", "beyond 128"),
            ("10.0.0.0/99999999999", "beyond 32"),
            ("10.0.0.1/8", "did you mean `10.0.0.0/8`?"),
        ] {
            let error = parse_network(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        assert_eq!(parse_networks(["10.0.0.0/8", "a", "b"]).unwrap_err().len(), 2);
        assert_eq!(parse_networks(["10.0.0.0/8", "::1"]).unwrap().len(), 2);
    }
}
