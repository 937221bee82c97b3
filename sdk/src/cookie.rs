//! Cookies: reading those of a request, setting one in a response (RFC 6265).

use std::time::Duration;

use crate::error::{Error, Result};

/// The first value of a cookie in the request's `cookie` headers, quotes taken off.
pub(crate) fn find(headers: &[Vec<u8>], name: &str) -> Option<Vec<u8>> {
    headers
        .iter()
        .flat_map(|header| header.split(|byte| *byte == b';'))
        .find_map(|pair| {
            let (key, value) = pair.split_at_checked(pair.iter().position(|byte| *byte == b'=')?)?;
            (key.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
        })
        .map(|value| value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value).to_vec())
}

/// When a browser sends a cookie along with requests that another site began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// When the user follows a link.
    Lax,
    /// Always. Browsers want [`SetCookie::secure`] with it.
    None,
}

/// A cookie for [`Response::set_cookie`](crate::Response::set_cookie).
///
/// ```
/// use fyke_sdk::{SameSite, SetCookie};
/// use std::time::Duration;
///
/// let cookie = SetCookie::new("session", "abc").path("/").max_age(Duration::from_secs(60)).http_only().same_site(SameSite::Lax);
/// assert_eq!(cookie.to_header().unwrap(), "session=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
/// ```
#[derive(Debug, Clone)]
pub struct SetCookie {
    name: String,
    value: String,
    attributes: String,
}

impl SetCookie {
    /// A cookie that lasts until the browser is closed, for the path of the request.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), attributes: String::new() }
    }

    /// Makes the browser forget a cookie.
    #[must_use]
    pub fn removal(name: impl Into<String>) -> Self {
        Self::new(name, "").max_age(Duration::ZERO)
    }

    fn with(mut self, attribute: &str, value: &str) -> Self {
        self.attributes.push_str("; ");
        self.attributes.push_str(attribute);
        self.attributes.push_str(value);
        self
    }

    /// For paths below this one.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        self.with("Path=", path)
    }

    /// For this host and those below it.
    #[must_use]
    pub fn domain(self, domain: &str) -> Self {
        self.with("Domain=", domain)
    }

    /// How long it lasts, in whole seconds.
    #[must_use]
    pub fn max_age(self, age: Duration) -> Self {
        self.with("Max-Age=", &age.as_secs().to_string())
    }

    /// Scripts do not see it.
    #[must_use]
    pub fn http_only(self) -> Self {
        self.with("HttpOnly", "")
    }

    /// Sent over TLS only.
    #[must_use]
    pub fn secure(self) -> Self {
        self.with("Secure", "")
    }

    /// When it is sent along with requests of other sites.
    #[must_use]
    pub fn same_site(self, policy: SameSite) -> Self {
        let word = match policy {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        self.with("SameSite=", word)
    }

    /// Any other attribute, such as `Priority`, or `Partitioned` with an empty value. What ends an attribute (`;`) is
    /// not looked for.
    #[must_use]
    pub fn attribute(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self.with(name, "") } else { self.with(&format!("{name}="), value) }
    }

    /// The value of the `set-cookie` header.
    ///
    /// # Errors
    /// When name or value have bytes that would end them, or begin an attribute (RFC 6265, section 4.1.1).
    pub fn to_header(&self) -> Result<String> {
        let token = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
        let octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(token) {
            return Err(Error::new(format!("{:?} is no name of a cookie", self.name)));
        }
        if !self.value.bytes().all(octet) {
            return Err(Error::new(format!("the value of cookie \"{}\" needs encoding", self.name)));
        }
        if self.attributes.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Error::new(format!("an attribute of cookie \"{}\" has a control character", self.name)));
        }
        Ok(format!("{}={}{}", self.name, self.value, self.attributes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name_in_any_header() {
        let headers = [b"a=1; ab=2;b = \"x y\" ;bare".to_vec(), b"c=3=4; a=9".to_vec()];
        let text = |name| find(&headers, name).map(|value| String::from_utf8(value).unwrap());
        assert_eq!(text("a").as_deref(), Some("1"));
        assert_eq!(text("b").as_deref(), Some("x y"));
        assert_eq!(text("c").as_deref(), Some("3=4"));
        assert_eq!((text("bare"), text("A"), text("")), (None, None, None));
    }

    #[test]
    fn what_would_break_out_of_a_cookie_is_refused() {
        assert!(SetCookie::new("a b", "").to_header().is_err());
        assert!(SetCookie::new("", "x").to_header().is_err());
        assert!(SetCookie::new("a", "x; Domain=evil").to_header().is_err());
        assert!(SetCookie::new("a", "x").path("/\r\nx: y").to_header().is_err());
        let other = SetCookie::new("a", "b").attribute("Priority", "High").attribute("Partitioned", "");
        assert_eq!(other.to_header().unwrap(), "a=b; Priority=High; Partitioned");
        assert_eq!(SetCookie::removal("a").to_header().unwrap(), "a=; Max-Age=0");
    }
}
