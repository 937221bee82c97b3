//! Who has signed in.
//!
//! A browser cannot send the admin endpoint's token with a form. It gives it once, and gets a cookie, which scripts cannot
//! read and which is sent with requests of our own pages only (`HttpOnly`, `SameSite=Strict`); forms bring a second secret,
//! which no other page can know. The host still refuses requests of other origins. Sessions are lost with the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::admin::dashboard::{
    link,
    model::{Time, Viewer},
};

/// Most sessions; the one that was used longest ago makes room.
pub const SESSIONS: usize = 64;
/// A session ends when it was not used for so long, in milliseconds: half a day.
pub const IDLE: u64 = 12 * 3_600 * 1_000;

/// All sessions of a process.
#[derive(Debug)]
pub struct Sessions {
    /// Cookies of a host are shared by all of its ports, so its name has the port.
    cookie: String,
    open: Mutex<BTreeMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    csrf: String,
    used: Time,
}

impl Sessions {
    /// None yet, for an admin endpoint at this port.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { cookie: format!("fyke-dashboard-{port}"), open: Mutex::default() }
    }

    /// Opens one. `entropy` is 32 bytes of a cryptographic generator. Returns the value of `Set-Cookie`.
    #[must_use]
    pub fn open(&self, now: Time, entropy: [u8; 32]) -> String {
        let (key, csrf) = entropy.split_at(16);
        let (key, csrf) = (hex(key), hex(csrf));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while open.len() >= SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            open.remove(&oldest);
        }
        let value =
            format!("{}={key}; Path={}; HttpOnly; SameSite=Strict; Max-Age={}", self.cookie, link::BASE, IDLE / 1_000);
        open.insert(key, Session { csrf, used: now });
        value
    }

    /// Who sends these cookies (the value of `Cookie`).
    #[must_use]
    pub fn viewer(&self, now: Time, cookies: &str) -> Viewer {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| now.0.saturating_sub(session.used.0) <= IDLE);
        let session = self.key(cookies).and_then(|key| open.get_mut(key));
        let csrf = session.map(|session| {
            session.used = now;
            session.csrf.clone()
        });
        Viewer { csrf, signs_in: true }
    }

    /// Ends the session of these cookies. Returns the value of `Set-Cookie`.
    #[must_use]
    pub fn close(&self, cookies: &str) -> String {
        if let Some(key) = self.key(cookies) {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        }
        format!("{}=; Path={}; HttpOnly; SameSite=Strict; Max-Age=0", self.cookie, link::BASE)
    }

    fn key<'a>(&self, cookies: &'a str) -> Option<&'a str> {
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, value)| value)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether two secrets are the same; takes as long wherever they differ.
#[must_use]
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(set: &str) -> &str {
        set.split(';').next().unwrap()
    }

    #[test]
    fn a_session_lives_while_it_is_used_and_until_it_is_closed() {
        let sessions = Sessions::new(9900);
        let set = sessions.open(Time(0), [7; 32]);
        assert!(set.ends_with("; Path=/dashboard; HttpOnly; SameSite=Strict; Max-Age=43200"));
        let cookies = format!("other=1; {}", cookie(&set));
        assert_eq!(sessions.viewer(Time(IDLE), &cookies).csrf.as_deref(), Some("07".repeat(16).as_str()));
        assert!(sessions.viewer(Time(2 * IDLE), &cookies).csrf.is_some());
        assert!(sessions.viewer(Time(3 * IDLE + 1), &cookies).csrf.is_none());
        let set = sessions.open(Time(0), [8; 32]);
        assert!(sessions.close(cookie(&set)).contains("Max-Age=0"));
        assert!(sessions.viewer(Time(0), cookie(&set)).csrf.is_none());
        assert!(sessions.viewer(Time(0), "fyke-dashboard-9900=").csrf.is_none());
    }

    #[test]
    fn whoever_signs_in_often_pushes_out_the_oldest_only() {
        let sessions = Sessions::new(1);
        let sets: Vec<_> =
            (0..=SESSIONS).map(|number| sessions.open(Time(number as u64), [number as u8; 32])).collect();
        assert!(sessions.viewer(Time(100), cookie(&sets[0])).csrf.is_none());
        assert!(sets[1..].iter().all(|set| sessions.viewer(Time(100), cookie(set)).csrf.is_some()));
    }

    #[test]
    fn secrets_are_the_same_or_not() {
        assert!(is_same("abc", "abc") && !is_same("abc", "abd") && !is_same("abc", "ab") && is_same("", ""));
    }
}
