//! Who may do what at the admin endpoint.
//!
//! Reading is open to this machine; changing anything, and reading from elsewhere, needs the token. A web page of
//! another origin may do neither, even in the browser of somebody who may: its requests carry that origin, or the name
//! that it was fetched by.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Wrong tokens of one address are logged once in this time.
const QUIET: Duration = Duration::from_secs(1);
/// And of not more addresses than this.
const STRANGERS: usize = 64;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To look.
    Read,
    /// To change something.
    Change,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Whoever may open the unix socket.
    Socket,
    /// This address.
    Address(IpAddr),
}

/// The token, and the rules.
#[derive(Debug)]
pub struct Access {
    token: String,
    /// Who was lately heard with a wrong one, and when.
    strangers: Mutex<HashMap<IpAddr, Instant>>,
}

impl Access {
    /// With this token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self { token, strangers: Mutex::default() }
    }

    /// The token, to keep it out of what is shown.
    pub(super) fn secret(&self) -> &str {
        &self.token
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// 401 without a token, 403 with a wrong one or from a foreign page; with a reason for people.
    pub fn check(&self, peer: Peer, headers: &HeaderMap, right: Right) -> Result<(), (StatusCode, &'static str)> {
        let hosts = || headers.get_all(header::HOST).iter().map(readable);
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = readable(origin).unwrap_or_default();
            let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if page.is_none() || hosts().next().is_none() || hosts().any(|host| host != page) {
                return Err((StatusCode::FORBIDDEN, "a page of another origin may not ask"));
            }
        }
        let free = match peer {
            Peer::Socket => true,
            Peer::Address(address) => right == Right::Read && address.to_canonical().is_loopback(),
        };
        // Whoever has the token knows whom they ask. A browser that merely runs here may have been led here by a name
        // of somebody's.
        if free && hosts().all(|host| host.is_some_and(is_own)) {
            return Ok(());
        }
        let given = headers.get(header::AUTHORIZATION).and_then(readable).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match given {
            Some(token) if !token.is_empty() && is_same(token.as_bytes(), self.token.as_bytes()) => Ok(()),
            Some(_) => {
                self.note_stranger(peer);
                Err((StatusCode::FORBIDDEN, "this is not the token"))
            }
            None if free => {
                Err((StatusCode::FORBIDDEN, "only an address, or localhost, may be the Host; or give the token"))
            }
            None => Err((StatusCode::UNAUTHORIZED, "this needs the token: `authorization: Bearer TOKEN`")),
        }
    }

    /// Whether this is the token, for one that is not in a header. An endpoint without a token knows none.
    #[must_use]
    pub fn is_token(&self, peer: Peer, token: &str) -> bool {
        let is_it = !token.is_empty() && is_same(token.as_bytes(), self.token.as_bytes());
        if !is_it {
            self.note_stranger(peer);
        }
        is_it
    }

    fn note_stranger(&self, peer: Peer) {
        if let Peer::Address(address) = peer
            && self.is_news(address, Instant::now())
        {
            tracing::warn!(target: "fyke::audit", peer = %address, "somebody asked with a wrong token");
        }
    }

    /// Whether a wrong token is worth a line in the log: whoever tries many must not fill it.
    fn is_news(&self, address: IpAddr, now: Instant) -> bool {
        let mut lately = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        lately.retain(|_, then| now.saturating_duration_since(*then) < QUIET);
        if lately.len() >= STRANGERS || lately.contains_key(&address) {
            return false;
        }
        lately.insert(address, now);
        true
    }
}

/// `None`: nobody can say what it means.
fn readable(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// An address, or the name that every machine has for itself; with a port or without. Any other name may be a page's
/// that leads here.
fn is_own(host: &str) -> bool {
    let (is_own, rest) = match host.strip_prefix('[').map(|bracketed| bracketed.split_once(']')) {
        Some(Some((name, rest))) => (name.parse::<Ipv6Addr>().is_ok(), rest),
        Some(None) => return false,
        None => {
            let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
            (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok(), rest)
        }
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_own && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// In the same time wherever they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn reading_is_open_here_and_changing_needs_the_token() {
        let access = Access::new("secret".to_owned());
        let here = Peer::Address("127.0.0.1".parse().unwrap());
        let there = Peer::Address("10.1.2.3".parse().unwrap());
        let none = headers(&[("host", "127.0.0.1:9900")]);
        let right = headers(&[("host", "127.0.0.1:9900"), ("authorization", "bearer secret")]);
        let wrong = headers(&[("host", "127.0.0.1:9900"), ("authorization", "Bearer secreT")]);
        let status =
            |peer, headers: &HeaderMap, right| access.check(peer, headers, right).map_err(|error| error.0.as_u16());
        assert_eq!(status(here, &none, Right::Read), Ok(()));
        assert_eq!(status(here, &none, Right::Change), Err(401));
        assert_eq!(status(here, &wrong, Right::Change), Err(403));
        assert_eq!(status(here, &right, Right::Change), Ok(()));
        assert_eq!(status(there, &none, Right::Read), Err(401));
        assert_eq!(status(there, &right, Right::Read), Ok(()));
        assert_eq!(status(Peer::Socket, &none, Right::Change), Ok(()));
    }

    #[test]
    fn pages_of_other_origins_and_names_that_lead_here_are_refused() {
        let access = Access::new("secret".to_owned());
        let here = Peer::Address("::1".parse().unwrap());
        let check = |list: &[(&'static str, &'static str)]| access.check(here, &headers(list), Right::Read).is_ok();
        assert!(check(&[("host", "localhost:9900"), ("origin", "http://localhost:9900")]));
        assert!(check(&[("host", "[::1]:9900")]));
        assert!(!check(&[("host", "localhost:9900"), ("origin", "http://evil.example")]));
        assert!(!check(&[("host", "localhost:9900"), ("origin", "null")]));
        for host in ["evil.example:9900", "[::1].evil.example", "127.0.0.1.evil.example", "localhost:x", "::1"] {
            assert!(!check(&[("host", host)]), "{host}");
        }
        let mut unreadable = HeaderMap::new();
        unreadable.insert(header::HOST, http::HeaderValue::from_bytes(b"evil\xff").unwrap());
        assert!(access.check(here, &unreadable, Right::Read).is_err());
    }

    #[test]
    fn a_host_that_begins_like_an_address_or_cannot_be_read_is_foreign() {
        for own in ["127.0.0.1", "127.0.0.1:9900", "[::1]", "[::1]:9900", "LOCALHOST:1", "10.1.2.3:80"] {
            assert!(is_own(own), "{own}");
        }
        for foreign in [
            "",
            "[::1].evil.example",
            "[::1]evil.example:80",
            "[::1",
            "[127.0.0.1]",
            "[::1]:",
            "127.0.0.1.evil.example",
            "127.0.0.1:evil.example",
            "127.0.0.1:+80",
            "localhost:80:80",
            "localhost.evil.example",
            "::1",
        ] {
            assert!(!is_own(foreign), "{foreign}");
        }
        let access = Access::new("secret".to_owned());
        let here = Peer::Address("127.0.0.1".parse().unwrap());
        let check = |headers: &HeaderMap| access.check(here, headers, Right::Read).is_ok();
        let mut headers = HeaderMap::new();
        // Whoever does not say whom they ask is no browser.
        assert!(check(&headers));
        headers.append(header::HOST, HeaderValue::from_static("127.0.0.1"));
        assert!(check(&headers));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!check(&headers), "the second one counts, too");
        headers.clear();
        headers.append(header::HOST, HeaderValue::from_bytes(b"\xe9vil.example").unwrap());
        assert!(!check(&headers));
        headers.clear();
        headers.append(header::ORIGIN, HeaderValue::from_static("http://"));
        assert!(!check(&headers));
    }

    #[test]
    fn a_missing_token_is_nobodys() {
        let access = Access::new(String::new());
        let there = Peer::Address("10.1.2.3".parse().unwrap());
        assert!(access.check(there, &headers(&[("authorization", "Bearer ")]), Right::Read).is_err());
    }

    #[test]
    fn wrong_tokens_do_not_fill_the_log() {
        let (access, now) = (Access::new("secret".to_owned()), Instant::now());
        let address = |number: u8| IpAddr::from([10, 0, 0, number]);
        assert!(access.is_news(address(1), now));
        assert!(!access.is_news(address(1), now + QUIET / 2));
        assert!(access.is_news(address(2), now + QUIET / 2));
        assert!(access.is_news(address(1), now + QUIET));
        let told = (0..=255).filter(|number| access.is_news(address(*number), now + 4 * QUIET)).count();
        assert_eq!(told, STRANGERS);
    }
}
