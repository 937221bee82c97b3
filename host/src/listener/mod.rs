//! Sockets that accept, and connections until they speak HTTP.
//!
//! [`socket`] binds one socket per worker to the same address; [`accept`] takes connections within the limits and knows what serves
//! them, which changes with every generation while the socket stays; [`tasks`] cuts off those of a listener that is gone;
//! [`connection`] finds out what a connection speaks and serves it; [`http1`] parks idle connections so that ten thousand of them
//! cost little; [`activity`] is what timers know of a connection without asking the clock for every read; [`heads`] knows when
//! an HTTP/2 client is in the middle of one; [`io`] is the transport.

pub mod accept;
pub mod activity;
pub mod connection;
pub mod drain;
pub mod heads;
pub mod http1;
pub mod http2;
pub mod io;
pub mod socket;
pub mod tasks;
