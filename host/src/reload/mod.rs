//! Turns a configuration into a running proxy, and another configuration into its next generation.
//!
//! ```text
//! prepare     config -> Prepared       modules compiled, filters configured: everything that can be wrong is found here
//! addresses   listeners -> sockets     those that are there already stay
//! next        Prepared -> parts        instances, sockets and settings for every worker
//! proxy       parts -> generation      one command to each worker
//! keeper      who asks for what        one change after the other, each in the audit log
//! following   control planes -> keeper what they send is put beside what is written, and changed files are read, unless a rollback is pinned
//! lines       config, config -> diff   the same line by line; `difference`: in words
//! endpoints   operators -> endpoints   draining, and weights
//! overlay     admin -> config          filters that were loaded, tried out or removed over the admin endpoint
//! canary      counts -> keeper         what is worse than the version before it is taken back
//! watch       files -> keeper          what is looked at changes what runs
//! overload    limits -> workers        what is used of memory and connections, and what to do less of
//! last_good   generation -> disk      for a start whose file is broken
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
pub mod canary;
pub(crate) mod compilers;
pub mod difference;
pub mod endpoints;
pub mod expiry;
pub mod following;
pub mod handover;
pub mod keeper;
pub mod last_good;
pub mod lines;
mod next;
pub mod overlay;
mod overload;
pub mod prepare;
pub mod proxy;
mod registration;
pub mod watch;

pub(crate) use addresses::unbound;
