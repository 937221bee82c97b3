//! `fyke convert envoy.yaml`: an Envoy bootstrap in Fyke's words, and what could not be carried over (crate `fyke-envoy`).

use std::path::PathBuf;

use fyke_envoy::Severity;
use serde_json::{Value, json};

use super::{BAD_CONFIGURATION, DONE, FAILED, Output, TESTS_FAILED, print};
use crate::config;

/// Options of `fyke convert`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Envoy's bootstrap: YAML, or JSON by extension
    file: PathBuf,
    /// Where certificates, keys and whatever else is written into Envoy's file goes as files of its own (default: they are refused)
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, output: Output) -> u8 {
    let conversion = match config::convert(&arguments.file, arguments.files.as_deref()) {
        Ok(conversion) => conversion,
        Err(error) => {
            eprintln!("error: {error}");
            return BAD_CONFIGURATION;
        }
    };
    let lost = conversion.findings.iter().any(|finding| finding.severity == Severity::Refused);
    let printed = match output {
        Output::Json => {
            let findings: Vec<Value> = conversion.findings.iter().map(fyke_envoy::Finding::to_json).collect();
            print(format_args!("{:#}", json!({ "config": conversion.config, "findings": findings })))
        }
        Output::Text | Output::Junit => print(format_args!("{}", conversion.to_yaml().trim_end())),
    };
    match printed {
        DONE if lost => TESTS_FAILED,
        DONE => DONE,
        _ => FAILED,
    }
}
