//! The service in this process, asked over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod client;
mod cluster;
mod envoy;
mod exact;
mod grpc;
mod http;
mod python;
mod readme;
mod redis;
mod reload;
mod sentinel;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fyke_ratelimit_service::{Clock, Env, Handle, ListenerSettings, Now, Service, Settings, Store};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A service that runs until it is dropped.
struct Running {
    addresses: Vec<SocketAddr>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    /// Holds the rules, if they were written for it.
    _directory: Option<tempfile::TempDir>,
}

impl Running {
    /// With these rules in a file, and settings that `change` changes.
    async fn with(rules: &str, change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_env(rules, Env::default(), change).await
    }

    async fn with_env(rules: &str, env: Env, change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rules.yaml");
        std::fs::write(&file, rules).unwrap();
        let mut settings = settings(&file);
        change(&mut settings);
        let mut running = Self::start(settings, env).await;
        running._directory = Some(directory);
        running
    }

    async fn start(settings: Settings, env: Env) -> Self {
        let service = Service::start_with(settings, env).await.unwrap_or_else(|error| panic!("{error}"));
        let listeners = service.listen().await.unwrap();
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let (stop, stopped) = oneshot::channel();
        let handle = service.handle();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            service.serve(listeners, shutdown).await.unwrap();
        });
        Self { addresses, handle, stop: Some(stop), task, _directory: None }
    }

    fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Tells it to end.
    fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    async fn ended(&mut self) {
        soon(&mut self.task).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// On a free port.
fn settings(rules: &Path) -> Settings {
    let mut settings = Settings::new(rules);
    settings.listeners = vec![listener()];
    settings
}

fn listener() -> ListenerSettings {
    let mut listener = Settings::new("").listeners.remove(0);
    listener.address.set_port(0);
    listener
}

/// A clock that only moves when it is told to.
#[derive(Clone)]
struct Stopped(Arc<AtomicU64>);

impl Stopped {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_700_000_000_000_000_000)))
    }

    fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    fn env(&self) -> Env {
        let now = Arc::clone(&self.0);
        let clock = Clock::new(move || {
            let now = now.load(Ordering::SeqCst);
            Now { steady: now, wall: now }
        });
        Env { clock: Some(clock), store: None::<Arc<dyn Store>> }
    }
}

/// What should take no time at all, on a machine that is busy.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

/// Waits until something is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
