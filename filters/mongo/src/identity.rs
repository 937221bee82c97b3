//! As whom a client has logged in: what it claims in its requests, once the server has said that it is so.
//!
//! The name is `user@database`, as MongoDB writes it. Of SCRAM and PLAIN it is in the first payload, of X.509 in the command, where drivers may leave
//! it out; of other mechanisms nothing is known. A claim goes with its request to the reply, so that a client cannot claim another name in between.

use std::rc::Rc;

use crate::message::Name;
use crate::message::command::Command;
use crate::message::reply::Reply;
use crate::message::request::Request;

/// What a request has in it of a login.
#[derive(Debug, Default)]
pub struct Credentials {
    /// `mechanism`.
    pub mechanism: Name,
    /// The beginning of `payload`; a name that goes beyond is none.
    pub payload: Name,
    /// `user`.
    pub user: Name,
    /// `db`, of a login that comes with a greeting.
    pub source: Name,
    /// It came with a greeting: `speculativeAuthenticate`.
    pub is_speculative: bool,
    /// Which of them were there.
    seen: [bool; 4],
}

/// A step of a login that waits for its reply.
#[derive(Debug, Clone)]
pub enum Step {
    /// This one logs in, if the reply says so.
    Login(Option<Rc<str>>, Proof),
    /// Nobody is logged in any more.
    Logout,
}

/// What of a reply says that the login went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It is ok.
    Ok,
    /// It is ok, and the conversation is done.
    Done,
    /// It answers the login that came with the greeting.
    Speculative,
}

/// As whom a connection is logged in.
#[derive(Debug, Default)]
pub struct Identity {
    claimed: Option<Rc<str>>,
    user: Option<Rc<str>>,
}

impl Credentials {
    /// There are none.
    pub fn clear(&mut self) {
        for name in [&mut self.mechanism, &mut self.payload, &mut self.user, &mut self.source] {
            name.clear();
        }
        (self.is_speculative, self.seen) = (false, [false; 4]);
    }

    /// One of them, by its name. Of several of a name, the first is what servers take.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let (place, kept) = match name {
            b"mechanism" => (0, &mut self.mechanism),
            b"payload" => (1, &mut self.payload),
            b"user" => (2, &mut self.user),
            _ => (3, &mut self.source),
        };
        if let Some(seen) = self.seen.get_mut(place)
            && !std::mem::replace(seen, true)
        {
            kept.set(value);
        }
    }

    fn is_x509(&self) -> bool {
        self.mechanism.bytes() == b"MONGODB-X509"
    }

    /// Who is claimed to log in; `None` too where what is read here is not what the server checks.
    fn claim(&self, database: &[u8], is_conversation: bool) -> Option<Rc<str>> {
        let source = if self.is_speculative { self.source.bytes() } else { database };
        let user = match self.mechanism.bytes() {
            b"PLAIN" => plain(self.payload.bytes())?,
            mechanism if mechanism.starts_with(b"SCRAM-") => scram(self.payload.bytes())?,
            // Of other conversations only the payload counts.
            _ if is_conversation => return None,
            _ => self.user.bytes().to_vec(),
        };
        let name = [&user, b"@".as_slice(), source].concat();
        (!user.is_empty()).then(|| String::from_utf8_lossy(&name).into())
    }
}

/// The name in SCRAM's first message (RFC 5802, section 7): `n,,n=user,r=nonce`.
fn scram(payload: &[u8]) -> Option<Vec<u8>> {
    let bare = payload.strip_prefix(b"n,,").or_else(|| payload.strip_prefix(b"y,,"))?;
    let name = bare.strip_prefix(b"n=")?;
    let name = name.get(..name.iter().position(|byte| *byte == b',')?)?;
    let text = std::str::from_utf8(name).ok()?;
    Some(text.replace("=2C", ",").replace("=3D", "=").into_bytes())
}

/// The name in the message of PLAIN (RFC 4616): who acts, a zero, who proves it, a zero, and the password.
fn plain(payload: &[u8]) -> Option<Vec<u8>> {
    let mut parts = payload.split(|byte| *byte == 0);
    let (_, user, _) = (parts.next()?, parts.next()?, parts.next()?);
    Some(user.to_vec())
}

impl Identity {
    /// As whom it is logged in; empty: as nobody, or nobody knows.
    #[must_use]
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or_default()
    }

    /// A request: what of a login waits for its reply.
    pub fn asks(&mut self, command: &Command, request: &Request) -> Option<Step> {
        let login = &request.login;
        match command.name {
            "saslStart" => {
                self.claimed = login.claim(request.database.bytes(), true);
                Some(Step::Login(self.claimed.clone(), Proof::Done))
            }
            "saslContinue" => Some(Step::Login(self.claimed.clone(), Proof::Done)),
            "authenticate" => Some(Step::Login(login.claim(request.database.bytes(), false), Proof::Ok)),
            "hello" | "isMaster" if login.is_speculative => {
                let claim = login.claim(request.database.bytes(), !login.is_x509());
                if login.is_x509() {
                    return Some(Step::Login(claim, Proof::Speculative));
                }
                // It goes on with `saslContinue`.
                self.claimed = claim;
                None
            }
            "logout" => Some(Step::Logout),
            _ => None,
        }
    }

    /// The reply to it.
    pub fn answered(&mut self, step: Step, reply: &Reply) {
        match step {
            _ if !reply.is_ok => {}
            Step::Logout => self.user = None,
            Step::Login(user, proof) => {
                let is_proven = match proof {
                    Proof::Ok => true,
                    Proof::Done => reply.is_done,
                    Proof::Speculative => reply.has_speculative,
                };
                if is_proven {
                    self.user = user;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(scram(b"n,,n=a=2Cb=3D2C,r=x").unwrap(), b"a,b=2C");
        assert_eq!(scram(b"y,,n=app,r=x").unwrap(), b"app");
        for none in [&b"n,a=x,n=app,r=x"[..], b"n,,n=app", b"", b"n,,", b"n,,n=\xff,r=x", b"p=tls,,n=app,r=x"] {
            assert_eq!(scram(none), None, "{none:?}");
        }
        assert_eq!(plain(b"\0app\0secret").unwrap(), b"app");
        assert_eq!(plain(b"app"), None);
    }
}
