//! Which origins are allowed.

use fyke_sdk::ConfigError;

use crate::config::Origin;
use crate::pattern::Pattern;

/// One entry of `allow_origins`.
#[derive(Debug)]
pub enum Allowed {
    /// `*`
    Every,
    /// Scheme, host and port, in lower case.
    Exact(String),
    /// `https://` and `.example.com`: anything but a slash or a colon between them.
    Below { before: String, after: String },
    /// Those that are like this.
    Like(Pattern),
}

impl Allowed {
    pub fn build(raw: Origin) -> Result<Self, ConfigError> {
        match raw {
            Origin::Text(text) => Self::parse(&text),
            Origin::Match(raw) => Pattern::build(raw).map(Self::Like),
        }
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        if text == "*" {
            return Ok(Self::Every);
        }
        let wrong = |why: &str| {
            Err(ConfigError::new(format!("\"{text}\" {why}; an origin is like https://app.example.com:8443")))
        };
        let lower = text.to_ascii_lowercase();
        let Some((scheme, host)) = lower.split_once("://") else {
            return wrong("has no scheme");
        };
        if scheme.is_empty() || host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
            return wrong("is not an origin");
        }
        match host.split_once('*') {
            None => Ok(Self::Exact(lower)),
            Some(("", after)) if after.starts_with('.') && !after.contains('*') => {
                Ok(Self::Below { before: format!("{scheme}://"), after: after.to_owned() })
            }
            Some(_) => wrong("has its * elsewhere than before the first dot"),
        }
    }

    pub fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Every => true,
            Self::Exact(exact) => origin.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Below { before, after } => {
                let lower = origin.to_ascii_lowercase();
                let middle = lower.strip_prefix(before.as_bytes()).and_then(|rest| rest.strip_suffix(after.as_bytes()));
                middle.is_some_and(|middle| !middle.is_empty() && !middle.iter().any(|byte| b"/:@ ".contains(byte)))
            }
            Self::Like(pattern) => pattern.matches(origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_are_below_and_nothing_else() {
        let below = Allowed::parse("https://*.Example.com").unwrap();
        for good in ["https://a.example.com", "https://a.b.example.com", "HTTPS://A.EXAMPLE.COM"] {
            assert!(below.matches(good.as_bytes()), "{good}");
        }
        for bad in [
            "https://example.com",
            "https://.example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://evil.com/.example.com",
            "https://evil.com:1.example.com",
            "https://a.example.com.evil.com",
            "null",
            "",
        ] {
            assert!(!below.matches(bad.as_bytes()), "{bad}");
        }
        assert!(Allowed::parse("https://*.example.com:8443").unwrap().matches(b"https://a.example.com:8443"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in
            ["", "example.com", "https://", "https://a/", "https://a.*.com", "https://*example.com", "https://*.*.com"]
        {
            assert!(Allowed::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(Allowed::parse("*").unwrap(), Allowed::Every));
    }
}
