//! Why there is no reply, and errors that are replies.

use std::fmt;

/// An error that a server has answered, such as `WRONGTYPE Operation against a key holding the wrong kind of value`.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerError {
    text: Box<str>,
}

impl ServerError {
    /// One that says this, its code first.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into().into() }
    }

    /// Its first word, by which programs tell errors apart: `ERR`, `WRONGTYPE`, `NOSCRIPT`, `OOM`.
    #[must_use]
    pub fn code(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    /// All of it, for people.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisError {
    /// The server has answered an error.
    Server(ServerError),
    /// There is a server, but not one that executes the command now, and nothing was executed: a replica (`READONLY`), a part of Redis Cluster that sends elsewhere (`MOVED`, `ASK`), is incomplete (`CLUSTERDOWN`) or is being
    /// moved (`TRYAGAIN`), or a server that loads its data (`LOADING`) or has lost its primary (`MASTERDOWN`).
    Unavailable(ServerError),
    /// The time was up. Whether the commands were executed is not known.
    Timeout,
    /// There is no connection: what the host says of it.
    Connect(String),
    /// The connection was closed before the last reply. Whether the commands were executed is not known.
    Closed,
    /// The server has refused what connections begin with (login, database, protocol): what it said.
    Greeting(String),
    /// Too much waits already. Nothing was sent.
    Overloaded,
    /// The host has no such cluster, or does not grant it to this filter (`allow: { clusters: [...] }`).
    UnknownCluster,
    /// The host knows no Redis: it is not Fyke, or an older one.
    Unsupported,
    /// There is no method or task that could wait; what is missing.
    NobodyWaits(&'static str),
    /// This is no call: what is wrong with it.
    Invalid(&'static str),
    /// What came is no reply.
    Malformed,
}

impl RedisError {
    /// Of the server's answer.
    pub(super) fn said(error: ServerError) -> Self {
        match error.code() {
            "READONLY" | "MOVED" | "ASK" | "CLUSTERDOWN" | "TRYAGAIN" | "LOADING" | "MASTERDOWN" => {
                Self::Unavailable(error)
            }
            _ => Self::Server(error),
        }
    }

    /// Of the host's answer.
    pub(super) fn of(outcome: u32, text: &[u8]) -> Self {
        let text = || String::from_utf8_lossy(text).into_owned();
        match outcome {
            1 => Self::UnknownCluster,
            2 => Self::Connect(text()),
            3 => Self::Timeout,
            4 => Self::Closed,
            5 => Self::Greeting(text()),
            6 => Self::Overloaded,
            _ => Self::Malformed,
        }
    }

    /// The host's answer that is this; `None`: no host says so.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn outcome(&self) -> Option<(u32, &str)> {
        Some(match self {
            Self::UnknownCluster => (1, "there is no such cluster"),
            Self::Connect(text) => (2, text),
            Self::Timeout => (3, "the time was up"),
            Self::Closed => (4, "the connection was closed"),
            Self::Greeting(text) => (5, text),
            Self::Overloaded => (6, "too much waits"),
            Self::Server(_)
            | Self::Unavailable(_)
            | Self::Unsupported
            | Self::NobodyWaits(_)
            | Self::Invalid(_)
            | Self::Malformed => return None,
        })
    }

    /// Whether the commands may have been executed although there is no reply.
    #[must_use]
    pub const fn may_be_executed(&self) -> bool {
        matches!(self, Self::Timeout | Self::Closed | Self::Malformed)
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => write!(f, "redis answered: {error}"),
            Self::Unavailable(error) => write!(f, "no server of redis does it now: {error}"),
            Self::Timeout => f.write_str("redis has not answered in time"),
            Self::Connect(text) => write!(f, "redis cannot be connected to: {text}"),
            Self::Closed => f.write_str("the connection to redis was closed before the answer"),
            Self::Greeting(text) => write!(f, "redis refused the login, the database or the protocol: {text}"),
            Self::Overloaded => f.write_str("too much waits for redis already"),
            Self::UnknownCluster => f.write_str("the cluster of redis is unknown or not granted"),
            Self::Unsupported => f.write_str("this host does not call redis (fyke.redis.call.v1)"),
            Self::NobodyWaits(why) | Self::Invalid(why) => f.write_str(why),
            Self::Malformed => f.write_str("what redis answered cannot be read"),
        }
    }
}

impl std::error::Error for RedisError {}
