//! `fyke validate FILE`

use std::path::Path;

use super::{DONE, Output, complain};
use crate::{config, reload::start};

/// Checks everything that can be checked without binding an address.
pub fn run(file: &Path, output: Output) -> u8 {
    let checked = config::load(file).and_then(|config| {
        let counts = (config.listeners.len(), config.filters.len(), config.clusters.len());
        start::prepare(config, true).map(|_| counts)
    });
    match checked {
        Ok((listeners, filters, clusters)) => {
            match output {
                Output::Json => println!(
                    "{}",
                    serde_json::json!({ "valid": true, "listeners": listeners, "filters": filters, "clusters": clusters })
                ),
                Output::Text => println!(
                    "{}: valid ({listeners} listeners, {filters} filters, {clusters} clusters)",
                    file.display()
                ),
            }
            DONE
        }
        Err(report) => complain(&report, output),
    }
}
