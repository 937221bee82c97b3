//! A proxy with its control plane, as `run` and `demo` need it.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    admin::{self, Admin},
    config::{Config, Problem, Report},
    reload::{
        self,
        keeper::{self, Keeper},
        prepare::{self, Records},
        watch,
    },
};

/// A running proxy and its admin endpoint.
pub struct Process {
    admin: Arc<Admin>,
    /// Where the admin endpoint listens.
    pub admin_address: Option<SocketAddr>,
}

/// The control plane's runtime: small, because it serves no traffic.
///
/// # Errors
/// Of the operating system.
pub fn control_plane() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("fyke-control").enable_all().build()
}

impl Process {
    /// Starts everything. What changes it reads the configuration from `file` again; without one nothing can. Must be called inside
    /// the control plane's runtime.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn start(config: Config, file: Option<&Path>) -> Result<Self, Report> {
        let endpoint = config.admin.clone();
        let sources = Arc::clone(&config.sources);
        let prepared = prepare::prepare(config, &Records::Configured)?;
        let socket =
            match endpoint.map(|endpoint| admin::bind(endpoint.address).map_err(|error| (endpoint, error))).transpose()
            {
                Ok(socket) => socket,
                Err((endpoint, error)) => {
                    let message = format!("the admin endpoint cannot listen on {}: {error}", endpoint.address);
                    return Err(Report::single(
                        sources,
                        Problem::new(endpoint.origin, message).help(reload::unbound(&error)),
                    ));
                }
            };
        let keeper = Arc::new(Keeper::new(Arc::new(prepared.start()?), file));
        if file.is_some() {
            tokio::spawn(watch::run(Arc::clone(&keeper)));
            tokio::spawn(on_hangup(Arc::clone(&keeper)));
        }
        let admin = Arc::new(Admin { keeper, draining: AtomicBool::new(false) });
        let admin_address = socket.as_ref().and_then(|socket| socket.local_addr().ok());
        if let Some(socket) = socket {
            tokio::spawn(admin::serve(Arc::clone(&admin), socket));
        }
        Ok(Self { admin, admin_address })
    }

    /// Listeners' names and addresses.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.admin.keeper.proxy.listeners()
    }

    /// Drains and ends. A second signal ends at once.
    pub fn drain(self, runtime: &Runtime) {
        self.admin.draining.store(true, Ordering::Relaxed);
        let proxy = Arc::clone(&self.admin.keeper.proxy);
        let patience = proxy.patience();
        runtime.block_on(async {
            let drained = tokio::task::spawn_blocking(move || proxy.drain(patience));
            tokio::select! {
                _ = drained => {}
                () = terminated() => tracing::warn!("ending without waiting for open streams"),
            }
        });
    }
}

/// Reloads at every SIGHUP.
async fn on_hangup(keeper: Arc<Keeper>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be waited for: it ends the process");
        return;
    };
    while hangup.recv().await.is_some() {
        let keeper = Arc::clone(&keeper);
        let reloaded = keeper::behind_traffic(move || {
            // Why it was refused is in the audit log.
            let _ = keeper.reload("signal");
        });
        if let Err(error) = reloaded.await {
            tracing::error!("cannot reload: {error}");
        }
    }
}

/// Waits for SIGTERM or SIGINT, or for `limit`.
pub async fn asked_to_end(limit: Option<Duration>) {
    let limit = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated() => {}
        () = limit => {}
    }
}

async fn terminated() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
