//! `fyke validate FILE`

use std::path::Path;

use super::{Output, complain, print};
use crate::{
    config,
    reload::prepare::{self, Records},
};

/// Checks everything that can be checked without binding an address.
pub fn run(file: &Path, output: Output) -> u8 {
    let checked = config::load(file).and_then(|config| {
        let counts = (config.listeners.len(), config.filters.len(), config.clusters.len());
        prepare::prepare(config, &Records::Nowhere).map(|_| counts)
    });
    match checked {
        Ok((listeners, filters, clusters)) => match output {
            Output::Json => print(format_args!(
                "{}",
                serde_json::json!({ "valid": true, "listeners": listeners, "filters": filters, "clusters": clusters })
            )),
            Output::Text | Output::Junit => print(format_args!(
                "{}: valid ({}, {}, {})",
                file.display(),
                counted(listeners, "listener"),
                counted(filters, "filter"),
                counted(clusters, "cluster")
            )),
        },
        Err(report) => complain(&report, output),
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
