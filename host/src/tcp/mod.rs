//! `protocol: tcp` listeners: bytes both ways, through the filters of a chain.
//!
//! # How a connection goes
//! 1. Every filter sees the new connection ([`serve`]), outermost first; one that pauses there holds back everything, the connection to
//!    the upstream too. Then the cluster is known: what a filter set (`fyke.cluster`), or the listener's.
//! 2. [`crate::cluster::dial`] connects, to one endpoint after the other until one answers.
//! 3. Two [`way::Way`]s move bytes, one in each direction, as in a tunnel of HTTP ([`crate::transport::both`]). Where no filter looks at a direction, bytes go from socket to socket over the
//!    worker's scratch buffer and no guest is called; otherwise they are pushed through the chain ([`crate::filter::pump`]).
//!
//! A filter may say that a connection has no upstream of its own (`fyke.upstream.none.v1`). Then [`leased`] moves its bytes, to and from the
//! connections that the filter borrows ([`crate::cluster::lending`]); [`handshake`] has the filter make new ones fit to be lent.
//!
//! # Invariants
//! - A way reads only when everything it read before is written (or, with filters, while they hold less than `limits.buffer`): whoever is
//!   slow is waited for by the other side. An idle connection holds no buffer.
//! - The end of one direction is passed on as a half-close once its last byte is written; the other direction goes on.
//! - An upstream that listens no longer may still speak: what it says, and its end, is the client's.
//! - A peer that reset its connection, and a filter that failed, reset the other side too: a cut is never mistaken for an end.

mod far;
mod handshake;
mod leased;
mod patience;
pub mod serve;
mod way;
