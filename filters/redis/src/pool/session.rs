//! What a client has said of itself, and the commands that are answered here.

use super::Pool;
use super::errors::error;
use crate::commands::Kind;
use crate::facts::{Facts, Replying};
use fyke_resp::Head;

/// The longest name of a connection.
const NAME: usize = 255;

/// One client.
#[derive(Debug)]
pub struct Session {
    /// Its database.
    pub database: u16,
    /// Whether it speaks RESP3.
    pub resp3: bool,
    /// Whether it may say anything but who it is.
    pub admitted: bool,
    name: Vec<u8>,
}

/// In which state the client's connection to a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// There is none.
    Nothing,
    /// It watches keys, or hears messages or commands.
    State,
    /// A transaction is open.
    Transaction,
}

/// What is said to the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// This.
    Say(Vec<u8>),
    /// This, and the connection ends.
    Last(Vec<u8>),
    /// This, and what is held of a server is closed.
    Fresh(Vec<u8>),
}

impl Session {
    /// A client that has said nothing.
    pub fn new(pool: &Pool) -> Self {
        Self { database: pool.database, resp3: false, admitted: pool.clients.is_none(), name: Vec::new() }
    }

    /// Which connections serve it.
    pub fn identity(&self) -> Vec<u8> {
        format!("db={};resp={}", self.database, self.protocol()).into_bytes()
    }

    const fn protocol(&self) -> u8 {
        if self.resp3 { 3 } else { 2 }
    }

    /// Answers a command that goes nowhere.
    pub fn answer(&mut self, pool: &Pool, facts: &Facts, head: &Head, holds: Holds) -> Answer {
        match facts.kind {
            Kind::Quit => return Answer::Last(b"+OK\r\n".to_vec()),
            Kind::Reset => {
                *self = Self::new(pool);
                return Answer::Fresh(b"+RESET\r\n".to_vec());
            }
            _ if holds == Holds::Transaction => {
                // The server would not know that the transaction must not be executed.
                let text = format!("ERR fyke: {} cannot be used in a transaction through this proxy", facts.name);
                return Answer::Last(error(&text));
            }
            Kind::Auth => self.on_auth(pool, head),
            Kind::Hello => self.on_hello(pool, head, holds),
            _ if !self.admitted => Err("NOAUTH Authentication required.".to_owned()),
            Kind::Select => self.on_select(pool, head, holds),
            Kind::Client => self.on_client(facts, head),
            Kind::Cluster => Err("ERR This instance has cluster support disabled".to_owned()),
            Kind::Replication => Err(format!("ERR fyke: {} needs a connection of its own to the server", facts.name)),
            _ => Err(format!("ERR fyke: {} cannot be used this way where connections are shared", facts.name)),
        }
        .map_or_else(|text| Answer::Say(error(&text)), Answer::Say)
    }

    fn on_auth(&mut self, pool: &Pool, head: &Head) -> Result<Vec<u8>, String> {
        let (user, at) = match head.count() {
            2 => (Some(&b"default"[..]), 1),
            3 => (head.whole(1), 2),
            _ => return Err("ERR wrong number of arguments for 'auth' command".to_owned()),
        };
        self.admit(pool, user, head.whole(at))?;
        Ok(ok())
    }

    fn admit(&mut self, pool: &Pool, user: Option<&[u8]>, password: Option<&[u8]>) -> Result<(), &'static str> {
        let Some((known, secret)) = &pool.clients else {
            return Err("ERR fyke: AUTH was called, but clients of this proxy have no password");
        };
        let fits = user.is_some_and(|user| same(user, known.as_bytes()))
            & password.is_some_and(|password| same(password, secret.as_bytes()));
        if !fits {
            return Err("WRONGPASS invalid username-password pair or user is disabled.");
        }
        self.admitted = true;
        Ok(())
    }

    fn on_hello(&mut self, pool: &Pool, head: &Head, holds: Holds) -> Result<Vec<u8>, String> {
        let resp3 = match head.whole(1) {
            None if head.count() == 1 => self.resp3,
            Some(b"2") => false,
            Some(b"3") => true,
            _ => return Err("NOPROTO unsupported protocol version".to_owned()),
        };
        let mut name = None;
        let mut at = 2;
        while at < head.count() as usize {
            let option = head.whole(at).map(<[u8]>::to_ascii_lowercase);
            match option.as_deref() {
                Some(b"auth") if at + 2 < head.count() as usize => {
                    self.admit(pool, head.whole(at + 1), head.whole(at + 2))?;
                    at += 3;
                }
                Some(b"setname") if at + 1 < head.count() as usize => {
                    name = Some(named(head.whole(at + 1))?);
                    at += 2;
                }
                _ => return Err("ERR Syntax error in HELLO option".to_owned()),
            }
        }
        if !self.admitted {
            return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option \
                can be used to authenticate the client and select the RESP protocol version at the same time"
                .to_owned());
        }
        if resp3 != self.resp3 && holds != Holds::Nothing {
            return Err(format!("ERR fyke: the protocol cannot be changed {WHILE}"));
        }
        self.resp3 = resp3;
        self.name = name.unwrap_or(std::mem::take(&mut self.name));
        let mut said = if resp3 { b"%7\r\n".to_vec() } else { b"*14\r\n".to_vec() };
        let mut pair = |key: &str, value: &[u8]| {
            said.extend_from_slice(&bulk(key.as_bytes()));
            said.extend_from_slice(value);
        };
        pair("server", &bulk(b"redis"));
        pair("version", &bulk(pool.version.as_bytes()));
        pair("proto", format!(":{}\r\n", self.protocol()).as_bytes());
        pair("id", b":0\r\n");
        pair("mode", &bulk(b"standalone"));
        pair("role", &bulk(b"master"));
        pair("modules", b"*0\r\n");
        Ok(said)
    }

    fn on_select(&mut self, pool: &Pool, head: &Head, holds: Holds) -> Result<Vec<u8>, String> {
        if head.count() != 2 {
            return Err("ERR wrong number of arguments for 'select' command".to_owned());
        }
        let number =
            head.whole(1).and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse::<i64>().ok());
        let number = number.ok_or("ERR value is not an integer or out of range")?;
        let database = u16::try_from(number).ok().filter(|number| *number < pool.databases);
        let database = database.ok_or("ERR DB index is out of range")?;
        if database != self.database && holds != Holds::Nothing {
            return Err(format!("ERR fyke: the database cannot be changed {WHILE}"));
        }
        self.database = database;
        Ok(ok())
    }

    fn on_client(&mut self, facts: &Facts, head: &Head) -> Result<Vec<u8>, String> {
        if facts.replies == Some(Replying::On) {
            return Ok(ok());
        }
        let what = head.whole(1).map(|what| String::from_utf8_lossy(what).to_ascii_lowercase()).unwrap_or_default();
        match (what.as_str(), head.count()) {
            ("setname", 3) => {
                self.name = named(head.whole(2))?;
                Ok(ok())
            }
            ("getname", 2) if self.name.is_empty() => {
                Ok(if self.resp3 { b"_\r\n".to_vec() } else { b"$-1\r\n".to_vec() })
            }
            ("getname", 2) => Ok(bulk(&self.name)),
            ("setinfo", 4) => Ok(ok()),
            ("reply", _) => {
                Err("ERR fyke: CLIENT REPLY OFF and SKIP cannot be used where connections are shared".to_owned())
            }
            ("tracking" | "caching" | "trackinginfo" | "getredir", _) => {
                Err("ERR fyke: CLIENT TRACKING cannot be used where connections are shared".to_owned())
            }
            ("no-evict" | "no-touch" | "id", _) => Err(format!(
                "ERR fyke: CLIENT {} is about one connection, and connections are shared",
                what.to_ascii_uppercase()
            )),
            ("setname" | "getname" | "setinfo" | "", _) => {
                Err("ERR wrong number of arguments for 'client' command".to_owned())
            }
            _ => Err("ERR fyke: this proxy does not know the subcommand of CLIENT".to_owned()),
        }
    }
}

const WHILE: &str = "while WATCH, SUBSCRIBE or MONITOR hold a connection";

/// Whether a command is answered here, whoever asks.
pub fn is_local(facts: &Facts, head: &Head) -> bool {
    const SERVER: [&[u8]; 7] = [b"list", b"kill", b"pause", b"unpause", b"unblock", b"info", b"help"];
    match facts.kind {
        Kind::Client => head.whole(1).is_none_or(|what| !SERVER.iter().any(|known| what.eq_ignore_ascii_case(known))),
        Kind::Select | Kind::Auth | Kind::Hello | Kind::Cluster | Kind::Reset | Kind::Quit | Kind::Replication => true,
        // Debugging is a state of the connection too.
        _ => facts.name == "script" && head.whole(1).is_some_and(|what| what.eq_ignore_ascii_case(b"debug")),
    }
}

fn ok() -> Vec<u8> {
    b"+OK\r\n".to_vec()
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    let mut bulk = format!("${}\r\n", bytes.len()).into_bytes();
    bulk.extend_from_slice(bytes);
    bulk.extend_from_slice(b"\r\n");
    bulk
}

/// A name as Redis allows it.
fn named(name: Option<&[u8]>) -> Result<Vec<u8>, &'static str> {
    name.filter(|name| name.len() <= NAME && name.iter().all(|byte| (b'!'..=b'~').contains(byte)))
        .map(<[u8]>::to_vec)
        .ok_or("ERR Client names cannot contain spaces, newlines or special characters.")
}

/// Compares without saying by its time where they differ.
fn same(given: &[u8], known: &[u8]) -> bool {
    let differs =
        known.iter().enumerate().fold(0, |differs, (at, byte)| differs | (given.get(at).unwrap_or(&0) ^ byte));
    (differs == 0) & (given.len() == known.len())
}
