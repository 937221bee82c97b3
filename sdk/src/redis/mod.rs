//! Redis: commands that a filter sends to the servers of a cluster while its stream, or its task, waits. Fyke only.
//!
//! ```no_run
//! # use fyke_sdk::redis::Script;
//! # use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Redis, Reply, Request, Result, http_filter};
//! # use std::time::Duration;
//! # #[derive(serde::Deserialize, fyke_sdk::FilterConfig)]
//! # struct Config { password: String }
//! struct Visits {
//!     store: Redis,
//!     count: Script,
//! }
//!
//! #[http_filter]
//! impl HttpFilter for Visits {
//!     type Config = Config;
//!     type Ctx = ();
//!
//!     fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
//!         let store = env.redis("cache")?.login("proxy", &config.password).timeout(Duration::from_millis(50));
//!         Ok(Self { store, count: Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])") })
//!     }
//!
//!     async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
//!         // One command. An error that the server answers is an `Err`.
//!         let banned = self.store.call(&["EXISTS", "banned"]).await?;
//!         if banned.as_integer() == Some(1) {
//!             return Ok(Reply::text(403, "banned").into());
//!         }
//!         // Several, in one round trip. Errors are among the values.
//!         let both = self.store.pipeline().command(&["GET", "motd"]).command(&["TTL", "motd"]).call().await?;
//!         if let Some(text) = both.first().and_then(|value| value.as_str()) {
//!             request.set("x-motd", text)?;
//!         }
//!         // A script, by its hash.
//!         let visits = self.store.eval(&self.count, &["visits"], &["1"]).await?;
//!         request.set("x-visits", visits.as_integer().unwrap_or(0).to_string())?;
//!         Ok(Flow::Continue)
//!     }
//! }
//! ```
//!
//! # Connections
//! The host has them: calls with the same cluster, endpoint and greeting (login, database, protocol) share them, from all streams of a worker. The commands of one
//! call follow each other on one connection, so that `MULTI` and `EXEC` belong into one [`Pipeline`]. What changes a connection for whoever comes next, or holds it up
//! (`SELECT`, `SUBSCRIBE`, `CLIENT REPLY`, `WATCH` without its `EXEC`, `BLPOP`), belongs into none.
//!
//! The cluster's balancer picks the server, unless [`Redis::endpoint`] names one.
//!
//! # Redis Cluster, and replicas
//! Commands that a server sends elsewhere (`MOVED`, `ASK`) go there, five times at most and within the same time, and what was learned of slots is remembered by each worker. The cluster's endpoints have to be all servers,
//! by IP addresses: the host connects to no others, and one that it does not know is an error. A command belongs where its first key is. In a [`Pipeline`] each goes its own way, and those that go to the same server keep
//! their order; one that is a transaction and nothing else, from `MULTI` to `EXEC`, goes as a whole. What [`Pipeline::send`] sends is not followed, but goes where keys like its first are known to be.
//!
//! A replica refuses what writes (`READONLY`). Then the other endpoints that are healthy are tried, and the one that takes it is asked from then on. Where there is none, that is [`RedisError::Unavailable`], and nobody looks again for
//! a second.
//!
//! # Failures
//! [`RedisError`] tells them apart. Nothing is ever sent twice: whether a call that timed out, or whose connection was closed, was executed is not known.

mod call;
mod error;
mod follow;
mod places;
mod resp;
mod script;
mod slot;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::mailbox;

use call::Deadline;
pub use call::Pipeline;
pub(crate) use call::answered;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use call::held_by_streams;
pub use error::{RedisError, ServerError};
use places::Places;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use resp::{commands, push_value};
pub use script::Script;
pub use value::Value;

/// How long a call waits, unless it says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(100);

/// The Redis servers of a cluster; from [`Env::redis`](crate::Env::redis). Cloning it costs nothing.
#[derive(Clone)]
pub struct Redis {
    cluster: Rc<str>,
    endpoint: Rc<str>,
    login: Option<Rc<(String, String)>>,
    database: u32,
    resp3: bool,
    /// What a new connection begins with, encoded.
    greeting: Rc<[u8]>,
    timeout: Duration,
    /// What servers have said of where keys are.
    places: Rc<Places>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password, which is in the greeting too.
        f.debug_struct("Redis")
            .field("cluster", &self.cluster)
            .field("endpoint", &self.endpoint)
            .field("user", &self.login.as_ref().map(|login| &login.0))
            .field("database", &self.database)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Redis {
    pub(crate) fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.into(),
            endpoint: "".into(),
            login: None,
            database: 0,
            resp3: false,
            greeting: Rc::new([]),
            timeout: DEFAULT_TIMEOUT,
            places: Rc::default(),
        }
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Logs in on every new connection (`AUTH`). An empty user is the server's default one, and with an empty password too nobody logs in. Default: nobody does.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        let some = !user.is_empty() || !password.is_empty();
        self.login = some.then(|| Rc::new((user.to_owned(), password.to_owned())));
        self.greet()
    }

    /// Selects a database on every new connection (`SELECT`). Default: 0.
    #[must_use]
    pub fn database(mut self, database: u32) -> Self {
        self.database = database;
        self.greet()
    }

    /// Speaks RESP3 (`HELLO 3`), which has maps, doubles and booleans where RESP2 has lists and text. Needs Redis 6. Default: RESP2.
    #[must_use]
    pub fn resp3(mut self) -> Self {
        self.resp3 = true;
        self.greet()
    }

    /// Goes to this endpoint of the cluster, `10.0.0.1:6379`, as [`Cluster::endpoints`](crate::Cluster::endpoints) names them, and to no other: redirections are errors of the server. Default: the
    /// balancer's choice.
    #[must_use]
    pub fn endpoint(mut self, address: &str) -> Self {
        self.endpoint = address.into();
        self
    }

    /// How long a call waits for all of its replies, connecting included: from 1 ms to an hour; what is beyond is taken as the nearest. Default: 100 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a command, and waits for its reply.
    ///
    /// ```no_run
    /// # use fyke_sdk::{Redis, Result};
    /// # async fn example(cache: &Redis, key: &[u8]) -> Result<()> {
    /// cache.call(&["SET", "motd", "hello", "EX", "60"]).await?;
    /// let value = cache.call(&[b"GET", key]).await?;
    /// let text: Option<&str> = value.as_str();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RedisError`]; [`RedisError::Server`] where the server answers an error.
    pub async fn call(&self, command: &[impl AsRef<[u8]>]) -> Result<Value, RedisError> {
        self.call_until(command, Deadline::after(self.timeout)).await
    }

    async fn call_until(&self, command: &[impl AsRef<[u8]>], deadline: Deadline) -> Result<Value, RedisError> {
        let replies = self.pipeline().command(command).until(deadline).await?;
        replies.into_iter().next().ok_or(RedisError::Malformed)?.into_result()
    }

    /// Begins a call of several commands.
    pub fn pipeline(&self) -> Pipeline<'_> {
        Pipeline::new(self)
    }

    /// Puts the greeting together: `HELLO` or `AUTH`, then `SELECT`.
    fn greet(mut self) -> Self {
        let mut greeting = Vec::new();
        let (user, password) = self.login.as_deref().map_or(("", ""), |(user, password)| (user, password));
        match (self.resp3, self.login.is_some(), user) {
            (true, false, _) => resp::push_command(&mut greeting, &["HELLO", "3"]),
            (true, true, "") => resp::push_command(&mut greeting, &["HELLO", "3", "AUTH", "default", password]),
            (true, true, user) => resp::push_command(&mut greeting, &["HELLO", "3", "AUTH", user, password]),
            (false, true, "") => resp::push_command(&mut greeting, &["AUTH", password]),
            (false, true, user) => resp::push_command(&mut greeting, &["AUTH", user, password]),
            (false, false, _) => {}
        }
        if self.database != 0 {
            resp::push_command(&mut greeting, &["SELECT", &self.database.to_string()]);
        }
        self.greeting = greeting.into();
        self
    }

    /// Whether the module is told of replies; else why not.
    pub(crate) fn is_heard() -> Result<(), &'static str> {
        if mailbox::is_heard() {
            return Ok(());
        }
        Err(
            "the filter calls Redis but its module is never told of replies: say #[http_filter(answers)] or #[tcp_filter(answers)]",
        )
    }
}
