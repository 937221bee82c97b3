//! `fyke run FILE`

use std::path::Path;

use super::{DONE, FAILED, Output, complain, process};
use crate::config;

/// Runs the proxy until it is asked to end.
pub fn run(file: &Path, output: Output) -> u8 {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(report) => return complain(&report, output),
    };
    let runtime = match process::control_plane() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return FAILED;
        }
    };
    let started = {
        let _entered = runtime.enter();
        process::Process::start(config, Some(file))
    };
    let process = match started {
        Ok(process) => process,
        Err(report) => return complain(&report, output),
    };
    for (name, address) in process.listeners() {
        tracing::info!(listener = name, %address, "listening");
    }
    if let Some(address) = &process.admin_address {
        tracing::info!(%address, "admin endpoint");
    }
    runtime.block_on(process.asked_to_end(None));
    tracing::info!("draining");
    process.drain(&runtime);
    tracing::info!("ended");
    runtime.shutdown_background();
    DONE
}
