//! Executes route decisions: gets a connection, sends, and tries once more where that is certain to be safe.
//!
//! Which cluster, how long and how often is decided by filters. [`dispatch`] sends a request once, and repeats it only to hide a race
//! that is not the endpoint's failure: a pooled connection that the endpoint closed just as it was used again (RFC 9110, section
//! 9.2.2; RFC 9112, section 9.3.1). [`execute`] sends it as often as a route's policy says. [`extended`] is how an upgrade is asked for
//! over HTTP/2.

pub mod dispatch;
pub mod error;
pub mod execute;
pub mod extended;
pub mod flags;
pub mod mirror;
pub mod outcome;
pub mod retry;
pub mod tee;

pub use dispatch::{Outgoing, dispatch};
pub use error::UpstreamError;
pub use retry::RetryPolicy;
