//! t
#![allow(missing_docs)]
mod guests { include!(concat!(env!("OUT_DIR"), "/guests.rs")); }

