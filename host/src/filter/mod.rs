//! The chain: which filter sees a stream when.
//!
//! A stream passes its filters phase by phase, requests outermost first and responses innermost first:
//!
//! ```text
//! request headers -> request body -> request trailers      outermost -> innermost
//! response headers -> response body -> response trailers   innermost -> outermost
//! log (all filters), then done and delete (all filters)
//! ```
//!
//! [`chain`] says which filters there are; [`pump`] moves headers, bytes and trailers from one to the next, holds them where
//! a filter pauses, and `pass` says what goes on; [`flow`] says what may come in, `failure` turns a filter's failure into its policy; [`reply`] sends a filter's own answer through the filters
//! outside of it; [`finish`] ends the stream. Nothing here awaits and nothing here knows a socket or the ABI: whoever has
//! bytes pushes them, takes what has come through, and is woken when a filter lets go.
//!
//! Decisions that Proxy-Wasm leaves open: a local reply is seen by the filters outside of the one that replied and not
//! by itself (proxy-wasm/spec#73); a filter that fails before it has altered or held anything can be left out
//! (`on_failure: open`), later it cannot.

pub mod chain;
mod explain;
pub(crate) mod failure;
pub mod finish;
pub mod flow;
mod pass;
pub mod pump;
pub mod reply;
