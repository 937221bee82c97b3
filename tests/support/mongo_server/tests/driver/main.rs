//! The server against the official Rust driver, and byte by byte where no driver goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod auth;
mod crud;
mod cursors;
mod faults;
mod load;
mod raw;
mod retries;
mod support;
mod topology;
mod transactions;
mod wire;
