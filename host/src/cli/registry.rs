//! `fyke registry`: the simple service registry (crate `fyke-registry`).

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use fyke_registry::{Clock, Registry, Settings};

use super::{DONE, FAILED, process};
use crate::config;

/// Options of `fyke registry`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Settings: YAML, or JSON or TOML by extension (default: those of the options)
    file: Option<PathBuf>,
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8900")]
    address: SocketAddr,
    /// Who may write: `services: { users: [TOKEN] }`
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// Anybody may write; on a loopback address only
    #[arg(long)]
    open: bool,
    /// Where it keeps what it knows across restarts
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// A Redis server that several registries share, such as redis://127.0.0.1
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// How long a host stays after its last heartbeat, such as 10m
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    host_ttl: Option<Duration>,
    /// Loads that hosts report become weights for everybody else
    #[arg(long)]
    load_weights: bool,
}

pub fn run(arguments: &Arguments) -> u8 {
    process::serve(settings(arguments), async |settings| match serve(arguments, settings).await {
        Ok(()) => DONE,
        Err(error) => {
            eprintln!("error: {error}");
            FAILED
        }
    })
}

async fn serve(arguments: &Arguments, settings: Settings) -> Result<(), String> {
    // What is wrong with files is said before anybody is told that it listens.
    let registry = Registry::open(settings, Clock::system()).await.map_err(|error| error.to_string())?;
    let listener = tokio::net::TcpListener::bind(arguments.address).await;
    let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", arguments.address))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!(%address, "listening");
    let served = registry.serve(listener, process::asked_to_end(None)).await;
    served.map_err(|error| error.to_string())
}

fn settings(arguments: &Arguments) -> Result<Settings, String> {
    let written = match &arguments.file {
        Some(file) => config::read_value(file)?,
        None => serde_json::json!({}),
    };
    let mut settings: Settings = serde_json::from_value(written).map_err(|error| match &arguments.file {
        Some(file) => format!("{}: {error}", file.display()),
        None => error.to_string(),
    })?;
    settings.open |= arguments.open;
    settings.load_weights |= arguments.load_weights;
    if let Some(ttl) = arguments.host_ttl {
        settings.host_ttl = ttl;
    }
    if arguments.tokens_file.is_some() {
        settings.tokens_file.clone_from(&arguments.tokens_file);
    }
    if arguments.state.is_some() {
        settings.state.clone_from(&arguments.state);
    }
    if let Some(url) = &arguments.redis {
        let redis = serde_json::from_value(serde_json::json!({ "url": url }));
        settings.redis = Some(redis.map_err(|error| format!("--redis: {error}"))?);
    }
    settings.check().map_err(|problem| problem.to_string())?;
    Ok(settings)
}
