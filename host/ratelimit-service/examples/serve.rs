//! Serves until Ctrl-C: `cargo run -p fyke-ratelimit-service --example serve -- settings.yaml`. SIGHUP reads the rules again.

use std::error::Error;

use fyke_ratelimit_service::{Service, Settings};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let path = std::env::args().nth(1).ok_or("usage: serve SETTINGS")?;
    let settings = Settings::from_yaml(&path, &std::fs::read_to_string(&path)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(settings))
}

async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    let service = Service::start(settings).await?;
    let listeners = service.listen().await?;
    for listener in &listeners {
        eprintln!("listening on {}", listener.local_addr()?);
    }
    let handle = service.handle();
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // What is wrong is in the log.
            let _ = handle.reload().await;
        }
    });
    let shutdown = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    service.serve(listeners, shutdown).await?;
    Ok(())
}
