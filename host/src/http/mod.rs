//! HTTP/1.1 and HTTP/2 streams: from a request's head to the last byte of its answer.
//!
//! hyper frames; this part decides nothing about what a request means. [`admit`] refuses what must not be forwarded, makes the path safe to match on ([`path`]) and
//! takes off what belongs to one hop; [`stream`] drives a request through the chain and back, `route` from the chain to its cluster;
//! [`exchange_body`] are a request's body and the way of bodies through filters, `response_flow` is the answer's, which its connection looks at; [`expect`] holds a request's body until the upstream asked for it;
//! `extended` makes one kind of upgrade of two; `connect` is CONNECT; [`upgrade`] turns a stream into a tunnel; `framing` says how long messages are; [`outcome`] is the one place that maps errors to answers.
//!
//! A stream is born and dies on one worker. Its future is dropped when the client goes away, and everything that it
//! holds (connection, contexts, counters) is given back by `Drop`.

pub mod admit;
mod connect;
pub mod exchange_body;
pub mod expect;
mod extended;
#[cfg(test)]
mod failures;
mod framing;
pub mod outcome;
pub mod path;
mod patience;
mod policy;
mod redirect;
mod respond;
mod response_flow;
mod route;
pub mod runtime;
pub mod stream;
pub mod upgrade;
