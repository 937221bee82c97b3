//! A proxy with its control plane, as `run` and `demo` need it.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use super::{BAD_CONFIGURATION, FAILED, run::tell_service_manager};
use crate::{
    admin::{self, Admin, Board, Endpoint, access::Access},
    config::{
        Config, Origin, Problem, Report, Sources, Written,
        resolved::{self, Address},
    },
    reload::{
        self, canary, expiry,
        handover::{self, AdminSocket, Door, Inherited},
        keeper::{self, Keeper},
        prepare::{self, Records},
        proxy::Setup,
        watch,
    },
    telemetry::{event_kinds, logging::Control},
    xds,
};

/// How long what control planes have sent has to get to disk when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Below `state`, where the next process takes over.
const DOOR: &str = "upgrade.sock";

/// A running proxy and its admin endpoint.
pub struct Process {
    admin: Arc<Admin>,
    /// Answers at the admin endpoint.
    answers: Option<JoinHandle<()>>,
    /// Listens to control planes.
    listens: Option<(tokio::sync::watch::Sender<bool>, JoinHandle<()>)>,
    /// Another process serves in place of this one.
    handed_over: Arc<AtomicBool>,
    /// Where the admin endpoint listens.
    pub admin_address: Option<Address>,
}

/// The control plane's runtime: small, because it serves no traffic.
///
/// # Errors
/// Of the operating system.
pub fn control_plane() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("fyke-control").enable_all().build()
}

/// Runs a service that is no proxy until it ends. `serves` says how it has ended, and has said what was wrong.
pub fn serve<S>(settings: Result<S, String>, serves: impl AsyncFnOnce(S) -> u8) -> u8 {
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error}");
            return BAD_CONFIGURATION;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return FAILED;
        }
    };
    let served = runtime.block_on(serves(settings));
    runtime.shutdown_background();
    served
}

impl Process {
    /// Starts everything. What changes it reads the configuration from `file` again; without one nothing can. With `take_over` the
    /// listening sockets are those of the process that runs with the same `state`, if there is one, which then drains. Must be called
    /// inside the control plane's runtime.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn start(config: Config, file: Option<&Written>, take_over: bool, log: Control) -> Result<Self, Report> {
        // From here on they do not end the process: who sends one early is served when there is something to reload, or to open anew.
        let hangup = file.map(|_| signal(SignalKind::hangup()));
        let rotate = signal(SignalKind::user_defined1());
        let settings = config.admin.clone();
        let sources = Arc::clone(&config.sources);
        let door = config.state.as_ref().filter(|_| file.is_some()).map(|state| state.join(DOOR));
        let prepared = prepare::prepare(config, &Records::Configured)?;
        let (mut inherited, predecessor) = match door.as_deref().filter(|_| take_over).map(handover::take) {
            Some(Ok(Some((inherited, predecessor)))) => (inherited, Some(predecessor)),
            Some(Err(error)) => {
                let message = format!("cannot take over from the process that runs: {error}");
                return Err(Report::single(sources, Problem::new(Origin::default(), message)));
            }
            Some(Ok(None)) | None => (Inherited::of_service_manager(), None),
        };
        // Until this process has taken over, the path of the admin endpoint is the other one's.
        let handed_over = Arc::new(AtomicBool::new(predecessor.is_some()));
        let endpoint = settings
            .as_ref()
            .map(|settings| open(settings, &sources, inherited.admin(&settings.address), &handed_over))
            .transpose()?;
        let setup = Setup { inherited, handed_over: Arc::clone(&handed_over), ..Setup::default() };
        let keeper = Arc::new(Keeper::new(Arc::new(prepared.start(setup)?), file));
        if let Some(predecessor) = predecessor {
            let pid = predecessor.pid;
            // The service manager has to know whom to follow before the other one ends.
            tell_service_manager(&[sd_notify::NotifyState::MainPid(std::process::id())]);
            handed_over.store(false, Ordering::Relaxed);
            match predecessor.dismiss() {
                Ok(()) => tracing::info!(pid, "took over; the process before drains"),
                Err(error) => tracing::error!(pid, "the process before does not answer, and may still serve: {error}"),
            }
        }
        let mut listens = None;
        if file.is_some() {
            tokio::spawn(watch::run(Arc::clone(&keeper)));
            let (end, told) = tokio::sync::watch::channel(false);
            listens = Some((end, tokio::spawn(xds::run(Arc::clone(&keeper), told))));
        }
        match hangup {
            Some(Ok(hangup)) => drop(tokio::spawn(on_hangup(Arc::clone(&keeper), hangup))),
            Some(Err(error)) => tracing::error!("SIGHUP cannot be waited for, it ends the process: {error}"),
            None => {}
        }
        match rotate {
            Ok(rotate) => drop(tokio::spawn(on_rotate(Arc::clone(&keeper), rotate))),
            Err(error) => tracing::error!("SIGUSR1 cannot be waited for, it ends the process: {error}"),
        }
        tokio::spawn(canary::judge(Arc::clone(&keeper)));
        tokio::spawn(expiry::watch(Arc::clone(&keeper)));
        tokio::spawn(log.levels.clone().keep());
        let (endpoint, token) = endpoint.unzip();
        let access = Access::new(token.unwrap_or_default());
        let streams = admin::Streams::new(keeper.proxy.registry());
        let admin_address = endpoint.as_ref().map(Endpoint::address);
        let board = Board::new(admin_address.as_ref().and_then(Address::port)).map_err(|error| {
            let message = format!("the system gives no random numbers: {error}");
            Report::single(Arc::clone(&sources), Problem::new(Origin::default(), message))
        })?;
        let admin = Arc::new(Admin {
            keeper,
            streams,
            access,
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            log,
            changes: Semaphore::new(admin::CHANGES),
            uploads: Semaphore::new(2),
            explanations: Semaphore::new(1),
            board,
        });
        if let Some(door) = door {
            // As it was written: the successor knows it by that.
            let written = settings.map(|settings| settings.address);
            let copy = written.zip(endpoint.as_ref().and_then(|endpoint| endpoint.copy().ok()));
            wait_for_successor(&door, Arc::clone(&admin), copy, Arc::clone(&handed_over));
        }
        let answers = endpoint.map(|endpoint| tokio::spawn(admin::serve(Arc::clone(&admin), endpoint)));
        Ok(Self { admin, answers, listens, handed_over, admin_address })
    }

    /// Keeps what runs on disk, for a start whose file is broken.
    pub fn keep(&self) {
        self.admin.keeper.keep();
    }

    /// It runs on what was kept, because of this.
    pub fn note_resumed(&self, why: &Report) {
        self.admin.keeper.note_resumed(why);
    }

    /// Waits until somebody asks the process to end: SIGTERM, SIGINT, the admin endpoint, SIGHUP where no file can be read again; or until
    /// `limit`.
    pub async fn asked_to_end(&self, limit: Option<Duration>) {
        tokio::select! {
            () = asked_to_end(limit) => {}
            () = hung_up(), if self.listens.is_none() => {}
            () = self.admin.drain.notified() => {}
        }
    }

    /// Tells the service manager that this process ends. Where another one has taken over, that one is who it hears from.
    pub fn tell_of_the_end(&self) {
        if !self.handed_over.load(Ordering::Relaxed) {
            tell_service_manager(&[sd_notify::NotifyState::Stopping]);
        }
    }

    /// Listeners' names and addresses.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, Address)> {
        self.admin.keeper.proxy.listeners()
    }

    /// What changes the proxy.
    #[must_use]
    pub fn keeper(&self) -> &Arc<Keeper> {
        &self.admin.keeper
    }

    /// Removes the admin endpoint's token, unless it was to be kept or is another process's now.
    pub fn forget_token(&self) {
        let config = Arc::clone(&self.admin.keeper.proxy.snapshot().config);
        if let (false, Some(settings), Some(bound)) =
            (self.handed_over.load(Ordering::Relaxed), &config.admin, &self.admin_address)
        {
            admin::forget_token(settings, bound);
        }
    }

    /// Drains and ends. A second signal ends at once.
    pub fn drain(mut self, runtime: &Runtime) {
        self.admin.draining.store(true, Ordering::Relaxed);
        if let Some((end, listens)) = self.listens.take() {
            // No generation comes of it any more, and what they have sent is kept for the next start.
            let _ = end.send(true);
            let _ = runtime.block_on(async { tokio::time::timeout(FAREWELL, listens).await });
        }
        if let Some(answers) = self.answers.as_ref().filter(|_| self.handed_over.load(Ordering::Relaxed)) {
            // Questions are for the other process now.
            answers.abort();
        }
        self.forget_token();
        let keeper = Arc::clone(&self.admin.keeper);
        keeper.note_drain(if self.handed_over.load(Ordering::Relaxed) { "successor" } else { "operator" });
        let proxy = Arc::clone(&keeper.proxy);
        let stays = self.handed_over.load(Ordering::Relaxed);
        runtime.block_on(async {
            // Readiness has failed by now; others stop sending people here before the door closes. A successor serves at the same address.
            if !stays {
                proxy.withdraw().await;
            }
            let drained = tokio::task::spawn_blocking(move || proxy.drain());
            tokio::select! {
                _ = drained => {}
                () = terminated() => tracing::warn!("ending without waiting for open streams"),
            }
        });
    }
}

/// Hands the sockets to the next process that asks for them and becomes ready; this one drains then.
fn wait_for_successor(
    path: &Path,
    admin: Arc<Admin>,
    endpoint: Option<(Address, AdminSocket)>,
    handed_over: Arc<AtomicBool>,
) {
    let waited = Door::open(path).and_then(|door| {
        std::thread::Builder::new().name("fyke-handover".to_owned()).spawn(move || {
            let proxy = Arc::clone(&admin.keeper.proxy);
            match door.wait(move || proxy.sockets(), endpoint) {
                Ok(successor) => {
                    handed_over.store(true, Ordering::Relaxed);
                    admin.draining.store(true, Ordering::Relaxed);
                    admin.drain.notify_one();
                    successor.answer();
                }
                Err(error) => tracing::warn!("no process can take over from this one: {error}"),
            }
        })
    });
    if let Err(error) = waited {
        tracing::warn!("{} cannot be opened, so no process can take over from this one: {error}", path.display());
    }
}

/// Opens the admin endpoint and finds its token.
fn open(
    settings: &resolved::Admin,
    sources: &Arc<Sources>,
    inherited: Option<AdminSocket>,
    handed_over: &Arc<AtomicBool>,
) -> Result<(Endpoint, String), Report> {
    let wrong = |message, help: &str| {
        Report::single(Arc::clone(sources), Problem::new(settings.origin.clone(), message).help(help))
    };
    let endpoint = Endpoint::open(settings, inherited, handed_over).map_err(|error| {
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
async fn on_hangup(keeper: Arc<Keeper>, mut hangup: Signal) {
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

/// Has the files of sinks opened anew at every SIGUSR1.
async fn on_rotate(keeper: Arc<Keeper>, mut rotate: Signal) {
    while rotate.recv().await.is_some() {
        keeper.proxy.reopen_files();
        let message = "files of sinks are opened anew";
        tracing::info!("SIGUSR1: {message}");
        keeper.proxy.registry().events().tell(&event_kinds::FILES_REOPENED, "", message, serde_json::Value::Null);
    }
}

/// Waits until the terminal is closed. Whoever has a file reloads it then.
pub async fn hung_up() {
    match signal(SignalKind::hangup()) {
        Ok(mut hangup) => drop(hangup.recv().await),
        Err(_) => std::future::pending().await,
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
