//! Where a collector is: `host:port`, `http(s)://host[:port][/path]` or `unix:/path`.

use std::{fmt, path::PathBuf, str::FromStr};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

/// A collector's place. Only parsing makes one, so it cannot be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    address: Address,
    security: Security,
    authority: Authority,
    path: String,
}

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A name or an IP address (IPv6 without brackets), and a port.
    Tcp {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What protects the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Nothing: `http`, a bare address, a Unix socket.
    Plain,
    /// TLS: `https`.
    Tls,
}

impl Endpoint {
    /// What to connect to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether to speak TLS.
    #[must_use]
    pub fn security(&self) -> Security {
        self.security
    }

    /// `:authority` of HTTP/2 and `host` of HTTP/1.1; `localhost` for a Unix socket.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What goes before `/v1/traces`, without a slash at its end; often empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn scheme(&self) -> Scheme {
        match self.security {
            Security::Plain => Scheme::HTTP,
            Security::Tls => Scheme::HTTPS,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Address::Tcp { .. } => write!(formatter, "{}://{}{}", self.scheme(), self.authority, self.path),
        }
    }
}

/// Why text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is none of the three forms.
    #[error("`{0}` is not an endpoint: write `host:port`, `http://host:port`, `https://host:port` or `unix:/path`")]
    Form(String),
    /// A bare address has no port.
    #[error("`{0}` has no port: by custom it is 4317 for gRPC and 4318 for HTTP")]
    Port(String),
    /// A user name or password. It is not shown.
    #[error("an endpoint has no user or password: send an `authorization` header instead")]
    User,
    /// A query.
    #[error("`{0}` has a query, which OTLP does not")]
    Query(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        // Before anything is shown: what is in front of the last `@` may be a password.
        if !text.starts_with("unix:") && text.contains('@') {
            return Err(EndpointError::User);
        }
        let form = || EndpointError::Form(text.escape_debug().to_string());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains('\0') {
                return Err(form());
            }
            return Ok(Self {
                address: Address::Unix(path.into()),
                security: Security::Plain,
                authority: Authority::from_static("localhost"),
                path: String::new(),
            });
        }
        if !text.contains("://") {
            let authority: Authority = text.parse().map_err(|_| form())?;
            let port = authority.port_u16().ok_or_else(|| EndpointError::Port(text.escape_debug().to_string()))?;
            return Self::tcp(authority, port, Security::Plain, String::new()).ok_or_else(form);
        }
        let uri: Uri = text.parse().map_err(|_| form())?;
        let (security, usual) = match uri.scheme_str() {
            Some("http") => (Security::Plain, 80),
            Some("https") => (Security::Tls, 443),
            _ => return Err(form()),
        };
        if uri.query().is_some() {
            return Err(EndpointError::Query(text.escape_debug().to_string()));
        }
        let authority = uri.authority().cloned().ok_or_else(form)?;
        let port = authority.port_u16().unwrap_or(usual);
        let path = uri.path().trim_end_matches('/').to_owned();
        Self::tcp(authority, port, security, path).ok_or_else(form)
    }
}

impl Endpoint {
    fn tcp(authority: Authority, port: u16, security: Security, path: String) -> Option<Self> {
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        // `host:` and `host:99999` are authorities without a port to the parser.
        let colon =
            authority.as_str().rfind(':').filter(|at| authority.as_str().rfind(']').is_none_or(|end| end < *at));
        if host.is_empty() || port == 0 || (colon.is_some() && authority.port_u16().is_none()) {
            return None;
        }
        Some(Self { address: Address::Tcp { host, port }, security, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (Address, Security, String) {
        let endpoint: Endpoint = text.parse().unwrap();
        (endpoint.address, endpoint.security, endpoint.path)
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(parsed("127.0.0.1:4317"), (tcp("127.0.0.1", 4317), Security::Plain, String::new()));
        assert_eq!(parsed("[::1]:4317"), (tcp("::1", 4317), Security::Plain, String::new()));
        assert_eq!(parsed("http://c:4318/otlp/"), (tcp("c", 4318), Security::Plain, "/otlp".into()));
        assert_eq!(parsed("https://c.example"), (tcp("c.example", 443), Security::Tls, String::new()));
        assert_eq!(parsed("unix:/run/c.sock").0, Address::Unix("/run/c.sock".into()));
        assert_eq!(parsed("unix:///run/c.sock").0, Address::Unix("/run/c.sock".into()));
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_what_to_write() {
        for text in ["", "grpc://a:1", "a:b", "a:99999", "a:0", "http://", "http://a:/", "unix:", ":4317", "a b:1"] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(matches!(error, EndpointError::Form(_) | EndpointError::Port(_)), "{text}: {error}");
        }
        assert!(matches!("collector".parse::<Endpoint>(), Err(EndpointError::Port(_))));
        assert!(matches!("http://a:1/?x=1".parse::<Endpoint>(), Err(EndpointError::Query(_))));
    }

    #[test]
    fn a_password_is_refused_and_not_shown() {
        let error = "https://user:secret@collector:1".parse::<Endpoint>().unwrap_err();
        assert_eq!(error, EndpointError::User);
        assert!(!error.to_string().contains("secret"));
    }

    proptest! {
        #[test]
        fn an_endpoint_reads_back_as_it_was_shown(text in "(http://|https://|unix:|)[a-z\\[\\]:0-9./?@-]{0,24}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
            }
        }
    }
}
