//! Collapsing of client connections onto few upstream connections.
//!
//! The host owns sockets, queues, limits and timers; this module owns what MongoDB's protocol says about them. Most of it does
//! no I/O: time, randomness, stretched keys and storage are handed in, by [`service`] (what the connections of a worker have in common), [`greeting`] (their
//! handshakes), `requests`, [`link`] and `replies` (one client), [`ways`] (clusters and accounts), [`directory`] (what the servers are) and [`heard`] (what all workers know of it), `election` (waiting for one that may serve), [`store`] (pins that workers share),
//! [`switch`] (what holds for all clients at once) and [`users`] (who may log in).
//!
//! - Towards **servers**: [`handshake`] makes a new connection ready (`hello`, then [`scram`] inside of [`sasl`]'s
//!   commands) and says what the server is; [`fleet`] remembers that of all servers.
//! - Towards **clients**: [`exchange`] takes each request and each reply of a connection and says what to do. It answers
//!   [`hello`] and [`login`] itself, asks [`pins`] where an operation must go, and makes of a [`failure`] the error
//!   reply ([`errors`]) with which drivers do the right thing.
//! - [`facts`] is what must be read of commands and replies for that; [`operation`] is what of it is kept until the reply.
//!
//! Who owns what: one [`exchange::Exchange`] per client connection, one [`handshake::Handshake`] per new upstream
//! connection, and per worker one [`pins::PinTable`] (over a store that workers share) and one [`fleet::Fleet`].
//!
//! What must hold, and where it is kept: nothing crosses between clients (`exchange`); an operation on a cursor or
//! transaction reaches the server that has it (`pins`); a connection is lent only after the server proved itself
//! (`handshake`) and returned only clean (`exchange`).

pub mod config;
pub mod directory;
mod election;
pub mod errors;
pub mod exchange;
pub mod facts;
pub mod failure;
pub mod fleet;
pub mod greeting;
pub mod handshake;
pub mod heard;
pub mod hello;
pub mod link;
pub mod login;
pub mod operation;
pub mod pins;
mod replies;
mod requests;
pub mod sasl;
pub mod scram;
pub mod service;
pub mod stats;
pub mod store;
pub mod switch;
pub mod users;
pub mod ways;
