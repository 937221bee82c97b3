//! Hosts for tests. Native targets only.
//!
//! [`World`] is the state that the hostcalls read and write: streams, clocks, sinks, callouts. It is a thread-local, because
//! hostcalls have no `self`, so every test has its own. [`Host`] drives one filter against it, calling exactly the callbacks
//! that the built module would export.
//!
//! ```
//! # use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Reply, Request, Result, http_filter};
//! use fyke_sdk::testing::Host;
//!
//! struct Closed;
//!
//! #[http_filter]
//! impl HttpFilter for Closed {
//!     type Config = ();
//!     type Ctx = ();
//!     fn configure(_: (), _: &mut Env) -> Result<Self, ConfigError> { Ok(Self) }
//!     async fn on_request(&self, _: &mut (), _: &mut Request) -> Result<Flow> { Ok(Reply::new(403).into()) }
//! }
//!
//! let host = Host::<Closed>::configure("{}").unwrap();
//! let stream = host.request(&[(":method", "GET"), (":path", "/")]);
//! assert_eq!(host.reply(stream).unwrap().status, 403);
//! ```
//!
//! [`TestHost`] stands on that floor, and is where most tests begin: it knows requests, answers, upstreams and time, and runs the same
//! test in other rings too. Both have to be alone in their thread: two at once would share a world.

#![allow(clippy::panic, reason = "a test kit fails by panicking; nothing of it is in a module")]

mod borrowing;
mod host;
#[doc(hidden)]
pub mod hostcalls;
mod kit;
mod native;
mod pipe;
mod properties;
mod redis;
mod spans;
mod tcp;
mod world;
mod yaml;

pub use borrowing::{LeaseRecord, LeaseState, Passage, Verdict};
pub use host::Host;
#[cfg(test)]
pub(crate) use host::{answer, answer_keys};
pub use kit::{
    Connection, Flight, Got, GrpcAnswer, GrpcReceived, Outcome, Received, RedisAnswer, RedisReceived, Ring,
    TcpTestHost, TestHost, TestRequest, TestResponse, Text,
};
pub use spans::{RecordedSpan, StreamTrace, TagValue, Tracing};
pub use tcp::TcpHost;
pub use world::{Call, GrpcRecord, Labelled, Labels, Pair, RedisRecord, SentReply, StreamState, World};
