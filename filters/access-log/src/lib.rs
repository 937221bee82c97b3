//! `builtin:access-log`: one record for every stream, when it is over.
//!
//! # What this is
//! A template, taken apart once at configure time into literal text and *commands*, and filled in for every stream from the
//! host's properties and header maps. As text, in the words of Envoy's format strings, or as one JSON object per line.
//!
//! # What this is not
//! It opens no files: records go to a *sink* of the configuration, whose background thread writes, drops and counts
//! (`fyke.log.write.v1`). On other hosts they go to the host's log.
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `config.rs` | the configuration |
//! | `template.rs` | format strings: parsing, and filling in |
//! | `command.rs` | what one `%COMMAND%` prints |
//! | `fields.rs` | JSON records |
//! | `escape.rs` | how bytes of strangers get into a line |
//! | `filter.rs` | the filter |
//!
//! Invariant: whatever a client sends, one stream is one line, and in JSON one object.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod command;
mod config;
mod escape;
mod fields;
mod filter;
#[cfg(test)]
mod rings;
mod template;

pub use config::Config;
pub use filter::AccessLog;
