//! `fyke run FILE`

use std::path::Path;

use sd_notify::NotifyState;

use super::{DONE, FAILED, Output, complain, process};
use crate::{
    config::{Config, Report, Written},
    reload::last_good,
    telemetry::logging::Control,
};

/// Tells the service manager how it goes, where there is one (`NOTIFY_SOCKET`).
pub(super) fn tell_service_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

/// The last configuration that ran, in place of one that is broken.
fn last_good(file: &Path, report: &Report) -> Option<Config> {
    let state = last_good::state_of(file)?;
    match last_good::load(&state) {
        Ok((config, since)) => {
            let age = since.elapsed().unwrap_or_default().as_secs();
            tracing::error!(
                "{} IS BROKEN AND NOT USED; the configuration that ran {age} s ago runs instead. Mend the file, then `fyke reload`. What is \
                 wrong with it: {}",
                file.display(),
                report.summary()
            );
            Some(config)
        }
        Err(error) => {
            tracing::error!("{} is broken, and there is no other configuration to run: {error}", file.display());
            None
        }
    }
}

/// Runs the proxy until it is asked to end.
pub fn run(file: &Written, take_over: bool, resume: bool, output: Output, log: &Control) -> u8 {
    let runtime = match process::control_plane() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return FAILED;
        }
    };
    let started = {
        let _entered = runtime.enter();
        let start = |config| process::Process::start(config, Some(file), take_over, log.clone());
        match last_good::with_received(file).and_then(start) {
            Err(report) if resume => last_good(&file.path, &report)
                .and_then(|config| {
                    // What is wrong now is wrong with both.
                    let process = start(config).ok()?;
                    process.note_resumed(&report);
                    Some(process)
                })
                .ok_or(report),
            started => started.inspect(|process| process.keep()),
        }
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
