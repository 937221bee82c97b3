//! The rows, by what they are about.

mod bodies;
mod callbacks;
mod callouts;
mod foreign;
mod house;
pub mod loading;
mod maps;
mod plugin;
mod properties;
mod shared;
mod streams;
mod tcp;
mod tls;
mod wasi;

use crate::table::Table;

pub fn all(table: &mut Table) {
    loading::rows(table);
    house::rows(table);
    callbacks::rows(table);
    plugin::rows(table);
    bodies::rows(table);
    maps::rows(table);
    streams::rows(table);
    tcp::rows(table);
    callouts::rows(table);
    shared::rows(table);
    properties::rows(table);
    tls::rows(table);
    foreign::rows(table);
    wasi::rows(table);
}
