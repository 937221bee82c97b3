//! The proxy as its users meet it: the real binary between scripted clients and scripted upstreams.
//!
//! Rules: port 0 everywhere; nothing sleeps to be sure, everything waits for a condition with a deadline ([`support::DEADLINE`]); what is
//! started is ended when its value is dropped. `FYKE` names the binary under test; without it `cargo build` makes one. `FYKE_LONG=1`
//! turns the soaks on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]
#![forbid(unsafe_code)]

mod support;

/// Paths of the modules of `tests/guests`. A guest that no test uses does not compile.
#[deny(dead_code)]
mod guests {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}

mod admin;
mod backpressure;
mod bad_input;
mod callouts;
mod canaries;
mod chain;
mod cli;
mod clusters;
mod config_errors;
mod connections;
mod demo;
mod disk;
mod expect;
mod filters;
mod framing;
mod grpc;
mod hostile;
mod http1;
mod http2;
mod isolation;
mod limits;
mod pauses;
mod pool;
mod redirects;
mod reload;
mod replies;
mod resume;
mod router;
mod sdk;
mod soak;
mod sources;
mod stateless;
mod swaps;
mod takeover;
mod tcp;
mod tcp_ends;
mod threads;
mod tls;
mod traps;
mod upgrade;
mod versions;
