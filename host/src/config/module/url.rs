//! An address that a module is fetched from.

use std::{fmt, net::IpAddr, str::FromStr};

use http::{Uri, uri::Authority};

/// An address that can be fetched from: `https`, or `http` on a loopback host.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    secure: bool,
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
        let authority = uri.authority().ok_or("it is not a URL: the host is missing")?;
        check_authority(authority)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(authority.host()) => false,
            Some("http") => {
                return Err("plain http is only for hosts on the loopback interface; use https://".to_owned());
            }
            _ => return Err("modules are fetched from https://".to_owned()),
        };
        Ok(Self { uri, secure })
    }

    /// The address that `Location` names in an answer from this one.
    ///
    /// # Errors
    /// What is wrong with it. Nothing leads from TLS to plain text, not even on this machine: what listens on its
    /// loopback interface is none of a distant server's business.
    pub fn redirected(&self, location: &str) -> Result<Self, String> {
        let (scheme, authority) = (self.scheme(), self.authority());
        // A reference without a scheme or a host, as RFC 9110 allows (section 10.2.2).
        let to = if location.starts_with("//") {
            Self::parse(&format!("{scheme}:{location}"))
        } else if location.starts_with('/') {
            Self::parse(&format!("{scheme}://{authority}{location}"))
        } else if location.contains("://") {
            Self::parse(location)
        } else {
            let folder = self.uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            Self::parse(&format!("{scheme}://{authority}{folder}/{location}"))
        }?;
        if self.secure && !to.secure { Err(format!("{to} is not https")) } else { Ok(to) }
    }

    /// The same address with something behind the path.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Option<Self> {
        let query = self.uri.query().map_or(String::new(), |query| format!("?{query}"));
        Self::parse(&format!("{}://{}{}{suffix}{query}", self.scheme(), self.authority(), self.uri.path())).ok()
    }

    /// The same address with these parameters behind those that are there.
    #[must_use]
    pub(crate) fn with_query(&self, parameters: &str) -> Option<Self> {
        let query = self.uri.query().map_or(String::new(), |query| format!("{query}&"));
        Self::parse(&format!("{}://{}{}?{query}{parameters}", self.scheme(), self.authority(), self.uri.path())).ok()
    }

    /// Whether the connection is TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, without the brackets of IPv6.
    #[must_use]
    pub fn host(&self) -> &str {
        bare(self.uri.host().unwrap_or_default())
    }

    /// The port, written or not.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// Host and port as written.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", Authority::as_str)
    }

    /// What a request line names.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Whether credentials for one are for the other as well.
    #[must_use]
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.secure, self.port()) == (other.secure, other.port()) && self.host().eq_ignore_ascii_case(other.host())
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// Without the parameters: those of a signed address are a secret.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = if self.uri.query().is_some() { "?..." } else { "" };
        write!(f, "{}://{}{}{query}", self.scheme(), self.authority(), self.uri.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether there is a host, a port that is one if any, and nothing else.
pub(crate) fn check_authority(authority: &Authority) -> Result<(), String> {
    if authority.as_str().contains('@') {
        // Without what is written there, which may be a password.
        return Err("credentials do not belong into a module's address".to_owned());
    }
    if authority.host().is_empty() {
        return Err("the host is missing".to_owned());
    }
    // `host:` and ports that are too large have no port either.
    if authority.as_str().len() != authority.host().len() && authority.port_u16().is_none() {
        return Err(format!("{authority} has no valid port"));
    }
    Ok(())
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether a host is this machine. A name is, too, because only addresses on loopback are tried then.
pub(crate) fn is_loopback(host: &str) -> bool {
    match IpAddr::from_str(bare(host)) {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_https_or_on_this_machine() {
        for good in ["https://a.example/m.wasm", "https://a.example:8443/", "http://127.0.0.1:80/m", "http://[::1]/m"] {
            assert_eq!(Url::parse(good).unwrap().to_string(), good);
        }
        for (bad, reason) in [
            ("http://a.example/m", "loopback"),
            ("http://127.0.0.1.example/m", "loopback"),
            ("http://localhost.example/m", "loopback"),
            ("ftp://a.example/m", "https://"),
            ("https://user:secret@a.example/m", "credentials"),
            ("https://a.example:99999/m", "port"),
            ("https:///m", "URL"),
            ("https://a b/", "URL"),
            ("m.wasm", "https"),
        ] {
            let error = Url::parse(bad).unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{bad}: {error}");
        }
    }

    #[test]
    fn parameters_are_not_shown() {
        let url = Url::parse("https://a.example/m.wasm?token=secret").unwrap();
        assert_eq!((url.to_string(), format!("{url:?}")), (url.to_string(), "https://a.example/m.wasm?...".to_owned()));
        let signature = url.with_suffix(".sig").unwrap();
        assert_eq!(signature.path_and_query(), "/m.wasm.sig?token=secret");
        assert_eq!(signature.with_query("a=b").unwrap().path_and_query(), "/m.wasm.sig?token=secret&a=b");
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let from = Url::parse("https://a.example/x/m?q").unwrap();
        for (location, to) in [
            ("https://b.example/n", "https://b.example/n"),
            ("//b.example/n", "https://b.example/n"),
            ("/n", "https://a.example/n"),
            ("n", "https://a.example/x/n"),
        ] {
            assert_eq!(from.redirected(location).unwrap().to_string(), to);
        }
        for location in ["http://b.example/n", "http://127.0.0.1/n", "file:///n", ""] {
            let to = from.redirected(location);
            assert!(location.is_empty() || to.is_err(), "{to:?}");
        }
        assert!(Url::parse("http://127.0.0.1/").unwrap().redirected("http://localhost/n").is_ok());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a, b| Url::parse(a).unwrap().same_origin(&Url::parse(b).unwrap());
        assert!(same("https://a.example/", "https://A.example:443/x"));
        assert!(!same("https://a.example/", "https://a.example:444/"));
        assert!(!same("https://a.example/", "https://b.example/"));
        assert!(!same("http://localhost:443/", "https://localhost/"));
    }

    /// Texts that are nearly addresses.
    fn near() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            r"(https?|HTTPS?|ftp|file)?:?/{0,3}[a-z0-9.:@\[\]%_-]{0,14}[/?#][a-z0-9./?&=%#@:\\ -]{0,16}",
            r"https?://(a\.example|localhost|127\.0\.0\.1|127\.1|0x7f\.1|\[::1\]|\[::ffff:127\.0\.0\.1\]|localhost\.|10\.0\.0\.1)(:[0-9]{0,6})?/[a-z?=]{0,6}",
        ]
    }

    proptest! {
        #[test]
        fn an_address_is_refused_or_safe_to_ask(text in near()) {
            let Ok(url) = Url::parse(&text) else { return Ok(()) };
            prop_assert!(url.is_secure() || is_loopback(url.host()), "{url}");
            prop_assert!(!url.authority().contains('@') && !url.host().is_empty());
            let shown = url.to_string();
            prop_assert!(shown.split_once('?').is_none_or(|(_, query)| query == "..."), "{shown}");
            prop_assert_eq!(format!("{url:?}"), shown);
            let request = url.path_and_query();
            prop_assert!(!request.bytes().any(|byte| byte <= b' ' || byte == 0x7f) && !request.contains('#'), "{request:?}");
            let signature = url.with_suffix(".sig");
            prop_assert!(signature.is_some_and(|signature| signature.same_origin(&url)));
        }

        /// Where a server may send whoever asks for a module.
        #[test]
        fn redirects_lead_to_no_plain_text_and_relative_ones_to_the_same_host(
            location in prop_oneof![near(), r"[a-z/\\@:.?#%]{0,12}"],
            secure in any::<bool>(),
        ) {
            let from = Url::parse(if secure { "https://a.example:8443/x/m?q" } else { "http://127.0.0.1:8080/x/m?q" }).unwrap();
            let Ok(to) = from.redirected(&location) else { return Ok(()) };
            prop_assert!(to.is_secure() || !secure, "{to}");
            prop_assert!(to.is_secure() || is_loopback(to.host()), "{to}");
            if !location.starts_with("//") && !location.contains("://") {
                prop_assert!(to.same_origin(&from), "{location} leads to {to}");
            }
        }
    }
}
