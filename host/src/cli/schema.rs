//! `fyke schema`

use std::io::Write;

use super::{DONE, FAILED};

/// Prints the schema.
pub fn run() -> u8 {
    match writeln!(std::io::stdout(), "{:#}", crate::config::schema()) {
        Ok(()) => DONE,
        Err(_) => FAILED,
    }
}
