//! Why the service does not start, or does not read its rules.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::yaml::Mistake;

/// Mistakes in files that people write, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if at > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The rules have mistakes.
    #[error(transparent)]
    Rules(#[from] Mistakes),
    /// A setting makes no sense.
    #[error("{0}")]
    Settings(String),
    /// Certificates cannot be read, or do not fit.
    #[error("tls: {0}")]
    Tls(String),
    /// Redis' settings make no sense. A Redis that is away is no error.
    #[error("redis: {0}")]
    Redis(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

/// Why rules or certificates were not read again. What was there before stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The rules have mistakes.
    #[error(transparent)]
    Rules(#[from] Mistakes),
    /// Certificates cannot be read, or do not fit.
    #[error("tls: {0}")]
    Tls(String),
}
