//! The dashboard: what operators see of a running proxy in a browser.
//!
//! It needs no network, no build step and no JavaScript: pages are written by the server and their files are part of the
//! binary. With JavaScript they stay up to date, and charts can be asked for single values.
//!
//! ```text
//! source    the one trait that the host implements: what is there, now
//! model     plain data of what pages show
//! history   the last hour of each service, which the host feeds once a second
//! page      data -> HTML, one file for each page
//! live      which regions of an open page have changed -> server-sent events
//! action    forms -> what somebody wants to be done; the host does it
//! session   who has signed in
//! route     requests -> answers
//! assets    style, script and charts
//! ```
//!
//! # Invariants
//! - Nothing here opens a socket, reads a clock or knows a type of the host, but for how manifests have panels drawn.
//! - Text reaches a page only through `maud`, which escapes it. The policy that goes with every answer forbids scripts and styles
//!   inside of pages, so that text which slipped through could still not run.
//! - What a page shows, what a feed sends and what the history keeps is bounded, however large the configuration is.
//! - A page changes nothing but by a form with the viewer's secret.

pub mod action;
mod assets;
pub mod history;
pub mod link;
pub mod live;
pub mod model;
mod page;
pub mod route;
pub mod session;
pub mod source;
#[cfg(test)]
mod testing;
pub mod units;

pub use self::source::Source;
