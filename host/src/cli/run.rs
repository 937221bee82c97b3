//! `fyke run FILE`

use std::path::Path;

use sd_notify::NotifyState;

use super::{DONE, FAILED, Output, complain, process};
use crate::config;

/// Tells the service manager how it goes, where there is one (`NOTIFY_SOCKET`).
pub(super) fn tell_service_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

/// Runs the proxy until it is asked to end.
pub fn run(file: &Path, take_over: bool, output: Output) -> u8 {
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
        process::Process::start(config, Some(file), take_over)
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
    runtime.block_on(async {
        let ready = async { tell_service_manager(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]) };
        // In this order: whoever hears that it is ready may ask it to end at once.
        tokio::join!(biased; process.asked_to_end(None), ready);
    });
    tracing::info!("draining");
    process.tell_of_the_end();
    process.drain(&runtime);
    tracing::info!("ended");
    runtime.shutdown_background();
    DONE
}
