//! Limits that Redis counts, for all processes that share it: one script for all limits of a request.
//!
//! # What this is
//! [`SCRIPT`] takes from any number of meters, all or none, at once and by the server's clock. [`Question`] is what it is asked, as `KEYS` and `ARGV` of `EVALSHA`, and reads
//! what it replies; [`Names`] makes the names of keys. Who sends it, and what becomes of a request meanwhile, is its user's business.
//!
//! # The meters
//! They are those of this crate, and decide as these do, of times in whole microseconds: [`Gcra`](crate::Gcra) and [`Window`](crate::Window) are the same functions of the same
//! states. [`Leases`](crate::Leases) are kept one by one, under a name that who takes one chooses, so that a lease is forgotten exactly after its `expiry`, and can be given back safely by somebody
//! who does not know whether it was ever taken.
//!
//! # In the server
//! A rate or quota is a string, `1700000000000000:42`, leases are a sorted set; each goes by itself (`PX`, `PEXPIRE`) when it does not matter any more. Redis 5 or newer, or Valkey; a
//! server that evicts keys forgets what they counted. In a cluster of servers all keys of a call have to be in one slot: give their prefix a hash tag (`{limits}:`).

mod names;
mod question;

pub use names::Names;
pub use question::{Order, Question, Unsupported};

/// The script, in Lua.
pub const SCRIPT: &str = include_str!("take.lua");
