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
    sync::Notify,
};

use crate::{
    admin::{self, Admin, Endpoint, access::Access},
    config::{
        Config, Problem, Report, Sources,
        resolved::{self, AdminAddress},
    },
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
    pub admin_address: Option<AdminAddress>,
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
        let endpoint = endpoint.map(|settings| open(&settings, &sources)).transpose()?;
        let keeper = Arc::new(Keeper::new(Arc::new(prepared.start()?), file));
        if file.is_some() {
            tokio::spawn(watch::run(Arc::clone(&keeper)));
            tokio::spawn(on_hangup(Arc::clone(&keeper)));
        }
        let (endpoint, token) = endpoint.unzip();
        let access = Access::new(token.unwrap_or_default());
        let admin = Arc::new(Admin { keeper, access, draining: AtomicBool::new(false), drain: Notify::new() });
        let admin_address = endpoint.as_ref().map(Endpoint::address);
        if let Some(endpoint) = endpoint {
            tokio::spawn(admin::serve(Arc::clone(&admin), endpoint));
        }
        Ok(Self { admin, admin_address })
    }

    /// Waits until somebody asks the process to end: SIGTERM, SIGINT, the admin endpoint; or until `limit`.
    pub async fn asked_to_end(&self, limit: Option<Duration>) {
        tokio::select! {
            () = asked_to_end(limit) => {}
            () = self.admin.drain.notified() => {}
        }
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

/// Binds the admin endpoint and finds its token.
fn open(settings: &resolved::Admin, sources: &Arc<Sources>) -> Result<(Endpoint, String), Report> {
    let wrong = |message, help: &str| {
        Report::single(Arc::clone(sources), Problem::new(settings.origin.clone(), message).help(help))
    };
    let endpoint = Endpoint::bind(settings).map_err(|error| {
        let message = format!("the admin endpoint cannot listen on {}: {error}", settings.address);
        wrong(message, reload::unbound(&error))
    })?;
    let token = admin::token(settings, &endpoint.address()).map_err(|(file, error)| {
        let message = format!("the token of the admin endpoint cannot be kept in {}: {error}", file.display());
        wrong(message, "name another file: `admin: { token_file: PATH }`")
    })?;
    Ok((endpoint, token))
}

/// Reloads at every SIGHUP.
async fn on_hangup(keeper: Arc<Keeper>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be waited for: it ends the process");
        return;
    };
    while hangup.recv().await.is_some() {
        let keeper = Arc::clone(&keeper);
        let reloaded = keeper::aside(move || {
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
