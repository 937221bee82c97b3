//! Executes route decisions: gets a connection, sends, and tries once more where that is certain to be safe.
//!
//! Which cluster and how long is decided by filters. Retries, hedging and mirroring as policies do not exist yet; the
//! one repetition here hides a race that is not the endpoint's failure: a pooled connection that the endpoint closed
//! just as it was used again (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).

pub mod dispatch;
pub mod error;
pub mod flags;

pub use dispatch::{Outgoing, dispatch};
pub use error::UpstreamError;
