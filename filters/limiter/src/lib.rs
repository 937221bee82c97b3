//! Rate limits for filters: exact across the workers of a process, in bounded memory.
//!
//! # What this is
//! A [`Limit`] as a configuration writes it becomes [`Meter`]s: [`Gcra`] for rates, [`Window`] for quotas by the calendar, [`Leases`] for
//! what goes on at the same time. A [`Charge`] is a key, its meters and a cost; a [`Store`] takes a list of charges from all of their
//! meters or, where one refuses, from none. [`KeyBuilder`] makes keys of whatever clients send, [`TopKeys`] finds the busiest.
//!
//! # What this is not
//! No filter: where keys come from and what a refusal looks like is its user's business. Nothing here does I/O or waits, and nothing here
//! looks at a clock but a store's own.
//!
//! # The stores
//! | store | where | exact |
//! |---|---|---|
//! | [`MemoryStore`] over a [`Table`] | this process | yes, over all threads; the host's and the tests' |
//! | `HostStore` | the host, by `fyke.shared.take.v1` | yes, over all workers |
//! | `SharedStore` | shared data, by compare and swap | for each key; several keys are charged one after the other, and given back |
//! | `SdkStore` | the better of these two that there is | |
//! | `redis` | a Redis server, by one script | yes, over all processes; it is no [`Store`], for who asks it waits |
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `rate.rs`, `limit.rs` | what configurations write, and what is wrong with it |
//! | `gcra.rs`, `window.rs`, `leases.rs` | the algorithms, as functions of a state and a moment |
//! | `meter.rs` | one of the three, and what it reads |
//! | `store.rs` | charges, outcomes and the trait |
//! | `table.rs` | the sharded table of a process |
//! | `wire.rs` | charges and outcomes as bytes, for `fyke.shared.take.v1` |
//! | `sdk/` | the stores of filters |
//! | `redis/` | the script for Redis, what it is asked, names of keys |
//! | `key.rs`, `rollout.rs`, `top.rs` | keys, shares of them, the busiest of them |
//! | `decision.rs` | what an outcome comes to, for headers |
//!
//! # Invariants
//! Arithmetic is exact: a rate of 7 in a second is seven in every second, for years. A clock that jumps backwards lets nobody in
//! twice, and makes nobody wait longer than an empty bucket does. Nothing that a client sends makes a key longer than
//! [`LONGEST_KEY`], or makes two keys one.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod decision;
mod gcra;
mod key;
mod leases;
mod limit;
mod meter;
mod rate;
#[cfg(feature = "redis")]
pub mod redis;
mod rollout;
#[cfg(feature = "sdk")]
mod sdk;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod top;
mod window;
mod wire;

pub use decision::{Decision, Governing};
pub use gcra::Gcra;
pub use key::{KeyBuilder, LONGEST_KEY, Seed};
pub use leases::Leases;
pub use limit::{Limit, LimitError};
pub use meter::{Meter, Now, Reading, State};
pub use rate::{Amount, Quota, Rate, Span};
pub use rollout::includes;
#[cfg(feature = "sdk")]
pub use sdk::{HostStore, SdkStore, SharedStore};
pub use store::{Charge, MemoryStore, Operation, Outcome, Store, StoreError};
pub use table::{Table, TableStats};
pub use top::{Top, TopKeys};
pub use window::Window;
pub use wire::{TAKE, WireError, answer, encode, read_outcome};
