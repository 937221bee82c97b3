//! Active health checks: each host is asked at intervals, and the answers make a health.
//!
//! * [`Settings`]: what is asked, how often, and how many answers it takes. Plain data.
//! * [`Connect`]: the caller's transport. TLS, Unix sockets, source addresses: none of it is known here.
//! * [`Probe`]: asks one host once, over a connection that it keeps where the kind allows. Always answers within
//!   [`Settings::timeout`], reads a bounded number of bytes, and says in words what was wrong.
//! * [`State`]: the state machine of one host. Pure.
//! * [`schedule`](Schedule): when to ask next. Pure.
//! * [`Course`]: what a verdict means, and when to ask next. Pure.
//! * [`Runner`]: a task per host that puts these together and tells a [`Report`].
//!
//! Semantics, names and defaults are Envoy's (`envoy.config.core.v3.HealthCheck`); the agent check speaks HAProxy's
//! protocol, the Mongo check is of the field's own making.
//!
//! Invariants:
//! * Checks of a host never overlap, and the next is due an interval after the last has ended.
//! * A host that was never checked is [`Health::Pending`], which is not healthy: no traffic before the first answer.
//! * What a host sends never panics, never hangs a check beyond its timeout, and never makes one hold more than a
//!   bound that is fixed per kind.

mod agent;
mod connect;
mod course;
mod grpc;
mod http;
mod http_session;
mod mongo;
mod probe;
mod raw;
mod redis;
mod runner;
mod schedule;
mod settings;
mod state;
mod tcp;
mod verdict;

pub(crate) use self::http::IMMEDIATE_FAIL;
pub use agent::{AgentReply, Operation};
pub use connect::Connect;
pub use course::Course;
pub(in crate::cluster) use grpc::post as grpc_post;
pub(in crate::cluster) use http_session::HttpSession;
pub use probe::Probe;
pub use runner::{Report, Runner};
pub use schedule::{Schedule, Traffic};
pub use settings::{AgentCheck, GrpcCheck, HttpCheck, HttpProtocol, Kind, Settings, SettingsError, TcpCheck};
pub use state::{Administration, Health, Seen, State, Transition};
pub use verdict::{Exclusion, Failure, FailureKind, Verdict};

#[cfg(test)]
mod tests;
