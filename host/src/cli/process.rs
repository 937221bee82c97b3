//! A proxy with its control plane, as `run` and `demo` need it.

use std::{
    io,
    net::SocketAddr,
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
    reload::start::{self, Proxy, Records},
};

/// A running proxy and its admin endpoint.
pub struct Process {
    proxy: Proxy,
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
    /// Starts everything. Must be called inside the control plane's runtime.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn start(config: Config) -> Result<Self, Report> {
        let endpoint = config.admin.clone();
        let sources = Arc::clone(&config.sources);
        let prepared = start::prepare(config, &Records::Configured)?;
        let socket =
            match endpoint.map(|endpoint| admin::bind(endpoint.address).map_err(|error| (endpoint, error))).transpose()
            {
                Ok(socket) => socket,
                Err((endpoint, error)) => {
                    let message = format!("the admin endpoint cannot listen on {}: {error}", endpoint.address);
                    return Err(Report::single(
                        sources,
                        Problem::new(endpoint.origin, message).help(start::unbound(&error)),
                    ));
                }
            };
        let proxy = prepared.start()?;
        let admin = Arc::new(Admin {
            snapshot: Arc::clone(&proxy.snapshot),
            registry: proxy.registry.clone(),
            draining: AtomicBool::new(false),
        });
        let admin_address = socket.as_ref().and_then(|socket| socket.local_addr().ok());
        if let Some(socket) = socket {
            tokio::spawn(admin::serve(Arc::clone(&admin), socket));
        }
        Ok(Self { proxy, admin, admin_address })
    }

    /// Listeners' names and addresses.
    #[must_use]
    pub fn listeners(&self) -> &[(String, SocketAddr)] {
        &self.proxy.snapshot.listeners
    }

    /// Drains and ends. A second signal ends at once.
    pub fn drain(self, runtime: &Runtime) {
        self.admin.draining.store(true, Ordering::Relaxed);
        let patience = self.proxy.patience();
        drop(self.admin);
        let proxy = self.proxy;
        runtime.block_on(async {
            let drained = tokio::task::spawn_blocking(move || proxy.drain(patience));
            tokio::select! {
                _ = drained => {}
                () = terminated() => tracing::warn!("ending without waiting for open streams"),
            }
        });
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
