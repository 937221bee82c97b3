//! `fyke schema`

use super::print;

/// Prints the schema.
pub fn run() -> u8 {
    print(format_args!("{:#}", crate::config::schema()))
}
