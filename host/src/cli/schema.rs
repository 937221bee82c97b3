//! `fyke schema`

use super::print;
use crate::wasm::{manifest::Manifest, source};

/// Prints the schema.
pub fn run() -> u8 {
    let modules = source::BUILTIN.iter().filter_map(|(name, bytes)| {
        let manifest = fyke_engine::manifest(bytes).ok()??;
        Some((format!("builtin:{name}"), Manifest::parse(&manifest).config?))
    });
    print(format_args!("{:#}", crate::config::schema_with_modules(modules)))
}
