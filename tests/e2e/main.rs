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
mod balancing;
mod breakers;
mod callouts;
mod canaries;
mod chain;
mod chains;
mod cli;
mod clusters;
mod collector;
mod config_errors;
mod config_tests;
mod connect;
mod connections;
mod control_planes;
mod demo;
mod discovery;
mod disk;
mod expect;
mod explain;
mod faults;
mod filters;
mod framing;
mod grpc;
mod health;
mod hedging;
mod hostile;
mod http1;
mod http2;
mod isolation;
mod leases;
mod limits;
mod load_reports;
mod metrics;
mod mirrors;
mod orca;
mod original_destination;
mod outliers;
mod overload;
mod parsers;
mod pauses;
mod pool;
mod proxy_protocol;
mod rate_limit;
mod redirects;
mod redis;
mod reload;
mod replies;
mod resume;
mod retries;
mod router;
mod sdk;
mod services;
mod slow_readers;
mod soak;
mod sources;
mod stateless;
mod swaps;
mod takeover;
mod tcp;
mod tcp_ends;
mod tcp_targets;
mod threads;
mod timeouts;
mod tls;
mod tracing;
mod traps;
mod tunnel_ends;
mod unix_sockets;
mod upgrade;
mod upstream_http2;
mod versions;
mod websocket_over_http2;
