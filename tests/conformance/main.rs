//! Proxy-Wasm, row by row: every callback, hostcall, value rule, ordering rule and limit against the real binary.
//!
//! Most rows run for every version of the ABI at once, with the probe of [`guests`]: a filter that does raw hostcalls as a script tells
//! it. What no compiler would emit is WebAssembly text. The results are `host/docs/conformance.md`; `FYKE_BLESS=1` writes that page anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]
#![forbid(unsafe_code)]

mod hostile;
mod journal;
mod page;
mod rows;
mod stage;
mod table;

#[path = "../e2e/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests")]
mod support;

/// Paths of the modules of `guests/`. A guest that no test uses does not compile.
#[deny(dead_code)]
mod guests {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    let mut table = table::Table::default();
    rows::all(&mut table);
    hostile::rows(&mut table);
    let (trials, results) = table.trials();
    let outcome = libtest_mimic::run(&arguments, trials);
    if outcome.has_failed() || arguments.list {
        return outcome.exit_code();
    }
    if outcome.num_filtered_out == 0
        && let Err(message) = page::compare(&table, &results)
    {
        eprintln!("{message}");
        return ExitCode::FAILURE;
    }
    outcome.exit_code()
}
