//! Sockets that accept, and connections until they speak HTTP.
//!
//! [`socket`] binds one socket per worker to the same address; [`accept`] takes connections within the limits and knows what serves
//! them, which changes with every generation while the socket stays; [`tasks`] cuts off those of a listener that is gone;
//! [`arrival`] takes a connection in: [`crate::proxy_protocol`], the choice of its [`chain`] (for which [`hello`] looks at its first bytes), TLS;
//! [`serving`] has the chains of one generation; [`connection`] finds out what a connection speaks and serves it; [`http1`] parks idle connections so that ten thousand of them
//! cost little; [`activity`] is what timers know of a connection without asking the clock for every read; [`heads`] knows when
//! an HTTP/2 client is in the middle of one; [`io`] is the transport; [`overload`] decides what all of
//! them do less of.

pub mod accept;
pub mod activity;
pub mod arrival;
pub mod chain;
pub mod connection;
pub mod drain;
pub mod heads;
pub mod hello;
pub mod http1;
pub mod http2;
pub mod io;
pub mod overload;
pub mod serving;
pub mod socket;
pub mod tasks;
