//! The engine against guests written in WAT and a host that writes down what it is asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod cache;
mod guest;
mod hostcalls;
mod images;
mod images_limits;
mod lifecycle;
mod limits;
mod load;
mod recorder;
mod values;
mod wasi;
