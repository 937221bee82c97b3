//! Clients share connections: each borrows one for an exchange.
//!
//! # Which connection
//! A connection's identity says its database and its protocol; [`login`] brings a new one there, so `SELECT` and `HELLO` cost no exchange. What
//! else a client says of its own connection is answered here ([`session`]) or refused, since the next exchange may have another one.
//!
//! # Exchanges
//! Commands that arrived together go together ([`link`]). The connection is released with the last of their replies, unless they left it in
//! a state that only this client may use (`crate::dialogue`): then it stays until that ends.

mod errors;
mod link;
mod login;
mod queue;
mod session;

use std::time::Duration;

use fyke_sdk::{Cluster, ConfigError, Env};

use crate::config;
use crate::filter::Redis;

pub use link::Link;
pub use login::log_in;

/// The part of the connections that long-lived exchanges take theirs from.
const LONG_LIVED: &str = "long-lived";

/// How long a client may hold what is lent to it without using it, unless something else is written.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The pool of one configuration.
pub struct Pool {
    cluster: Cluster,
    user: String,
    password: String,
    database: u16,
    databases: u16,
    clients: Option<(String, String)>,
    queue_timeout: Option<Duration>,
    /// How long a server may say nothing, and how long a client may hold what is lent to it.
    pub patience: (Option<Duration>, Option<Duration>),
    long_lived: u32,
    batch: usize,
    version: String,
}

impl Pool {
    /// How many commands go together at most.
    fn batch(&self, redis: &Redis) -> usize {
        redis.memory.most(self.batch)
    }

    /// As configured.
    ///
    /// # Errors
    /// The cluster is not granted.
    pub fn new(pool: &config::Pool, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self {
            cluster: env.cluster(&pool.cluster).map_err(|error| error.under("cluster"))?,
            user: pool.user.clone(),
            password: pool.password.clone(),
            database: pool.database,
            databases: pool.databases(),
            clients: pool.clients.as_ref().map(|clients| {
                (clients.user.clone().unwrap_or_else(|| "default".to_owned()), clients.password.clone())
            }),
            queue_timeout: pool.queue_timeout,
            patience: (
                pool.reply_timeout.filter(|limit| !limit.is_zero()),
                Some(pool.client_timeout.unwrap_or(CLIENT_TIMEOUT)).filter(|limit| !limit.is_zero()),
            ),
            long_lived: pool.long_lived.unwrap_or(16).into(),
            batch: pool.batch().into(),
            version: pool.server_version().to_owned(),
        })
    }
}
