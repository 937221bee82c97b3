//! `fyke ratelimit-service`: Envoy's rate limit service (crate `fyke-ratelimit-service`).

use std::{fs, path::PathBuf};

use fyke_ratelimit_service::{Service, Settings};
use tokio::signal::unix::{SignalKind, signal};

use super::{BAD_CONFIGURATION, DONE, FAILED, process};

/// Options of `fyke ratelimit-service`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Settings, in YAML
    #[arg(required_unless_present = "rules")]
    file: Option<PathBuf>,
    /// Rules of envoyproxy/ratelimit, a file or a directory of files, with default settings
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    rules: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> u8 {
    process::serve(settings(arguments), async |settings| {
        let service = match Service::start(settings).await {
            Ok(service) => service,
            Err(error) => {
                eprintln!("error: {error}");
                return BAD_CONFIGURATION;
            }
        };
        let listeners = match service.listen().await {
            Ok(listeners) => listeners,
            Err(error) => {
                eprintln!("error: {error}");
                return FAILED;
            }
        };
        for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
            tracing::info!(%address, "listening");
        }
        let handle = service.handle();
        let reloads = tokio::spawn(async move {
            let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
            while hangup.recv().await.is_some() {
                // What is wrong with them is in the log.
                let _ = handle.reload().await;
            }
        });
        let served = service.serve(listeners, process::asked_to_end(None)).await;
        reloads.abort();
        match served {
            Ok(()) => DONE,
            Err(error) => {
                eprintln!("error: {error}");
                FAILED
            }
        }
    })
}

fn settings(arguments: &Arguments) -> Result<Settings, String> {
    match (&arguments.file, &arguments.rules) {
        (Some(file), _) => {
            let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Settings::from_yaml(&file.display().to_string(), &text).map_err(|mistakes| mistakes.to_string())
        }
        (None, Some(rules)) => Ok(Settings::new(rules)),
        (None, None) => Err("settings or --rules".to_owned()),
    }
}
