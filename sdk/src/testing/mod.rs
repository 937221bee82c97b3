//! A host in the same process, for tests. Native targets only.
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
//! This is the floor on which the `TestHost` of the test kit will stand.

mod host;
#[doc(hidden)]
pub mod hostcalls;
mod tcp;
mod world;

pub use host::Host;
pub use tcp::TcpHost;
pub use world::{Call, GrpcRecord, Labelled, Pair, SentReply, StreamState, World};
