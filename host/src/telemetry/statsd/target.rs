//! Where a StatsD server is: `host:port`, `udp://host:port` or `unix:/path`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

/// Longest path of a Unix socket, in bytes: Linux has room for 108 with a zero at the end (`unix(7)`).
pub const PATH_BYTES: usize = 107;

/// A server's place. Only parsing makes one, so it cannot be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Place);

/// What is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// UDP.
    Udp {
        /// A name or an IP address (IPv6 without brackets).
        host: String,
        /// The port.
        port: u16,
    },
    /// A datagram socket in the file system.
    Unix(PathBuf),
}

impl Target {
    /// What to send to.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Place::Udp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Place::Udp { host, port } => write!(formatter, "{host}:{port}"),
        }
    }
}

/// Why text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is none of the forms.
    #[error("`{0}` is not a StatsD server: write `host:port` or `unix:/path`")]
    Form(String),
    /// It has no port.
    #[error("`{0}` has no port: by custom StatsD's is 8125")]
    Port(String),
    /// The path of a socket is too long for the system.
    #[error("`{0}` is too long: the path of a Unix socket has {PATH_BYTES} bytes at most")]
    Path(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let shown = || text.escape_debug().to_string();
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains('\0') {
                return Err(TargetError::Form(shown()));
            }
            if path.len() > PATH_BYTES {
                return Err(TargetError::Path(shown()));
            }
            return Ok(Self(Place::Unix(path.into())));
        }
        let authority = text.strip_prefix("udp://").unwrap_or(text);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| TargetError::Form(shown()))?;
                if host.parse::<Ipv6Addr>().is_err() {
                    return Err(TargetError::Form(shown()));
                }
                (host, rest.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        // The characters of names (underscores occur in those of containers), addresses aside.
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if host.is_empty() || (host.parse::<IpAddr>().is_err() && !host.bytes().all(legal)) {
            return Err(TargetError::Form(shown()));
        }
        let port = port.ok_or_else(|| TargetError::Port(shown()))?;
        // `+1` is a number to the parser.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if port > 0 && digits => Ok(Self(Place::Udp { host: host.to_owned(), port })),
            _ => Err(TargetError::Form(shown())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn udp(host: &str, port: u16) -> Target {
        Target(Place::Udp { host: host.into(), port })
    }

    #[test]
    fn the_forms_are_read() {
        for (text, target) in [
            ("127.0.0.1:8125", udp("127.0.0.1", 8125)),
            ("udp://statsd.internal:9125", udp("statsd.internal", 9125)),
            ("[::1]:8125", udp("::1", 8125)),
            ("unix:/run/datadog/dsd.socket", Target(Place::Unix("/run/datadog/dsd.socket".into()))),
            ("unix:///run/datadog/dsd.socket", Target(Place::Unix("/run/datadog/dsd.socket".into()))),
        ] {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_what_to_write() {
        for text in [
            "",
            ":1",
            "a:",
            "a:b",
            "a:0",
            "a:65536",
            "a:+1",
            "a b:1",
            "::1:8125",
            "[a]:1",
            "[::1",
            "tcp://a:1",
            "unix:",
        ] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::Form(_))), "{text}");
        }
        for text in ["statsd", "[::1]", "udp://a"] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::Port(_))), "{text}");
        }
        let long = format!("unix:/{}", "x".repeat(PATH_BYTES));
        assert!(matches!(long.parse::<Target>(), Err(TargetError::Path(_))));
    }

    proptest! {
        #[test]
        fn a_target_reads_back_as_it_was_shown(text in "(udp://|unix:|)[a-z\\[\\]:0-9./_@-]{0,24}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}
