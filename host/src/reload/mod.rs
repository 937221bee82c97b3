//! Turns a configuration into a running proxy, and another configuration into its next generation.
//!
//! ```text
//! prepare     config -> Prepared       modules compiled, filters configured: everything that can be wrong is found here
//! addresses   listeners -> sockets     those that are there already stay
//! proxy       Prepared -> generation   instances for every worker, then one command to each of them
//! keeper      who asks for what        one change after the other, each in the audit log
//! watch       files -> keeper          what is looked at changes what runs
//! handover    process -> process       listening sockets for the next binary
//! ```
//!
//! # Invariants
//! - Everything is validated, compiled, configured, bound and built before a worker hears of it. If any step fails, what ran goes on
//!   and the report says why.
//! - A generation is whole: listeners, chains, filters and clusters change together, and a stream sees those of one generation only.
//! - What has not changed is not replaced: a listener keeps its sockets and its connections, a cluster its pools, a filter its
//!   instances with all that they remember.

mod addresses;
pub mod audit;
mod compilers;
pub mod difference;
pub mod handover;
pub mod keeper;
pub mod prepare;
pub mod proxy;
pub mod watch;

pub(crate) use addresses::unbound;
