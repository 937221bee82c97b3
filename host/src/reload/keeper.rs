//! Changes what runs when somebody asks: one change after the other, each in the audit log.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use serde_json::json;
use tokio::sync::Notify;

use super::{
    audit::{Audit, Entry, Outcome},
    difference,
    endpoints::{EndpointChange, EndpointError},
    following::Following,
    last_good,
    lines::{self, Line},
    overlay::{ChangeError, Overlay},
    prepare::Prepared,
    proxy::{Applied, Proxy},
    watch,
};
use crate::{
    config::{Config, Fragment, Origin, Problem, Report, Written, fingerprint::Fingerprint},
    telemetry::{event_kinds, names},
    wasm::source,
    xds::ControlPlanes,
};

/// The one that changes a proxy. Every change blocks the thread that asks for it until it has been made or refused.
pub struct Keeper {
    /// What is changed.
    pub proxy: Arc<Proxy>,
    /// What was changed.
    pub audit: Audit,
    /// Where the configuration is read again; `None`: it was not read from a file.
    file: Option<Written>,
    /// One at a time.
    turn: Mutex<()>,
    /// What the configuration that was read last depends on, whether or not it was accepted.
    looked_at: Mutex<Vec<PathBuf>>,
    /// What control planes have sent.
    pub(super) following: Mutex<Following>,
    /// How they are.
    pub control_planes: ControlPlanes,
    /// Another generation runs.
    pub changed: Notify,
}

/// Why a rollback was not made.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// It cannot run again: an address is taken, say.
    #[error("{}", .0.summary())]
    Refused(Report),
    /// It is not kept.
    #[error("there is no generation {wanted} to go back to; kept are {kept}")]
    Unknown {
        /// The one that was asked for.
        wanted: u64,
        /// Those that are there.
        kept: String,
    },
    /// There is only one.
    #[error("there is no other generation to go back to")]
    Only,
}

/// What became of a change of one filter.
#[derive(Debug)]
pub enum Changed {
    /// It was made.
    Did(Applied),
    /// It would make this difference.
    Would(Vec<String>),
}

/// Why one filter was not changed.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is nothing to change.
    #[error("{0}")]
    Impossible(ChangeError),
    /// What it would be is refused.
    #[error("{}", .0.summary())]
    Refused(Report),
}

impl Keeper {
    /// Keeps a proxy that was started with the configuration in `file`.
    #[must_use]
    pub fn new(proxy: Arc<Proxy>, file: Option<&Written>) -> Self {
        let audit = Audit::new(proxy.registry());
        let following = Following::of(&proxy.snapshot().written);
        Self {
            proxy,
            audit,
            file: file.cloned(),
            turn: Mutex::default(),
            looked_at: Mutex::default(),
            following: Mutex::new(following),
            control_planes: ControlPlanes::default(),
            changed: Notify::new(),
        }
    }

    /// Reads the configuration again and applies it.
    ///
    /// # Errors
    /// Everything that is wrong with it; what ran goes on then.
    pub fn reload(&self, who: &str) -> Result<Applied, Report> {
        self.in_turn(|| self.read_again(who))
    }

    pub(super) fn read_again(&self, who: &str) -> Result<Applied, Report> {
        let loaded =
            self.load(&self.received()).and_then(|(written, overlay)| self.proxy.prepare(written, overlay, false));
        let applied = self.change(who, "reload", loaded);
        if applied.is_ok() {
            self.unpin();
            self.forget_others();
        }
        applied
    }

    /// Has a configuration run that was made, not read. What was changed over the admin endpoint gives way to it.
    ///
    /// # Errors
    /// Everything that is wrong with it; what ran goes on then.
    pub fn replace(&self, who: &str, config: Config) -> Result<Applied, Report> {
        self.in_turn(|| {
            let prepared = self.proxy.prepare(Arc::new(config), Overlay::default(), false);
            self.change(who, "replace", prepared).inspect(|_| self.unpin())
        })
    }

    /// What a reload would do, without doing it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn difference(&self) -> Result<Vec<String>, Report> {
        self.in_turn(|| {
            let (written, overlay) = self.load(&self.received())?;
            self.proxy.prepare(written, overlay, true).map(|prepared| self.changes(&prepared))
        })
    }

    /// Has an older generation run again; without a number the one before.
    ///
    /// # Errors
    /// [`RollbackError`]; what ran goes on then.
    pub fn rollback(&self, who: &str, to: Option<u64>) -> Result<Applied, RollbackError> {
        self.in_turn(|| {
            let found = self.found(to);
            let (wanted, prepared) = found.inspect_err(|error| {
                let what = to.map_or("rollback".to_owned(), |to| format!("rollback {to}"));
                self.note(who, &what, Vec::new(), Outcome::Refused(error.to_string()));
            })?;
            let applied =
                self.change(who, &format!("rollback {wanted}"), Ok(prepared)).map_err(RollbackError::Refused)?;
            self.pin(wanted);
            Ok(applied)
        })
    }

    /// The generation that a rollback leads to: without a number the one before that which runs, or which runs again.
    fn found(&self, to: Option<u64>) -> Result<(u64, Prepared), RollbackError> {
        let running = self.proxy.snapshot().origin;
        let kept: Vec<u64> = self.proxy.history().iter().map(|snapshot| snapshot.generation).collect();
        let wanted = match to {
            Some(wanted) => wanted,
            None => kept.iter().rev().find(|kept| **kept < running).copied().ok_or(RollbackError::Only)?,
        };
        let prepared = self.proxy.again(wanted).ok_or_else(|| {
            let kept = kept.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            RollbackError::Unknown { wanted, kept }
        })?;
        Ok((wanted, prepared))
    }

    /// Keeps what runs on disk, for a start whose file is broken.
    pub fn keep(&self) {
        let snapshot = self.proxy.snapshot();
        if let (Some(state), true) = (&snapshot.written.state, self.file.is_some())
            && let Err(error) = last_good::keep(state, &snapshot, self.pinned())
        {
            tracing::warn!("the configuration that runs cannot be kept in {}: {error}", state.display());
        }
    }

    /// The process runs on what was kept, because of this.
    pub fn note_resumed(&self, why: &Report) {
        self.note("start", "run --resume", Vec::new(), Outcome::Refused(why.summary()));
    }

    /// The process is about to drain.
    pub fn note_drain(&self, who: &str) {
        self.note(who, "drain", Vec::new(), Outcome::Drains);
    }

    /// A target of the log has another level for a while; `what` says it in the words of the command line.
    pub fn note_level(&self, who: &str, target: &str, what: &str) {
        self.note(who, what, Vec::new(), Outcome::Done);
        let fields = json!({ "who": who, "what": what });
        self.proxy.registry().events().tell(&event_kinds::LOG_LEVEL, target, what, fields);
    }

    pub(super) fn note(&self, who: &str, what: &str, changes: Vec<String>, outcome: Outcome) {
        self.note_with(who, what, changes, Vec::new(), outcome);
    }

    pub(super) fn note_with(&self, who: &str, what: &str, changes: Vec<String>, diff: Vec<Line>, outcome: Outcome) {
        let (who, what) = (who.to_owned(), what.to_owned());
        self.audit.write(Entry { when: SystemTime::now(), who, what, changes, diff, outcome });
    }

    /// Changes an endpoint, at once. What runs stays the same generation.
    ///
    /// # Errors
    /// [`EndpointError`]; nothing is changed then.
    pub fn change_endpoint(
        &self,
        who: &str,
        cluster: &str,
        address: SocketAddr,
        change: EndpointChange,
    ) -> Result<bool, EndpointError> {
        self.in_turn(|| {
            let what = change.words(cluster, address);
            let made = change.make(&self.proxy.snapshot().clusters, cluster, address)?;
            self.note(who, &what, Vec::new(), Outcome::Done);
            if made {
                let fields = json!({ "who": who, "address": address });
                self.proxy.registry().events().tell(&event_kinds::ENDPOINT_CHANGED, cluster, what, fields);
            }
            Ok(made)
        })
    }

    /// Changes one filter, as `change` says, on top of what is written. A dry run only says what would be different.
    ///
    /// # Errors
    /// [`FilterError`]; what ran goes on then.
    pub fn change_filter(
        &self,
        who: &str,
        what: &str,
        dry_run: bool,
        change: impl FnOnce(&Overlay, &Config) -> Result<Overlay, ChangeError>,
    ) -> Result<Changed, FilterError> {
        self.in_turn(|| {
            let before = self.proxy.snapshot();
            let overlay = change(&before.overlay, &before.written).map_err(FilterError::Impossible)?;
            let prepared = self.proxy.prepare(Arc::clone(&before.written), overlay, dry_run);
            if dry_run {
                let prepared = prepared.map_err(FilterError::Refused)?;
                return Ok(Changed::Would(self.changes(&prepared)));
            }
            self.change(who, what, prepared).map(Changed::Did).map_err(FilterError::Refused)
        })
    }

    /// Ends a canary that was found to be bad, if it is still that one.
    pub(super) fn take_back_canary(&self, filter: &str, identity: Fingerprint, why: &str) {
        let changed =
            self.change_filter("canary", &format!("filter abort {filter}: {why}"), false, |overlay, written| {
                let now = self.proxy.snapshot();
                if now.trials.get(filter).is_none_or(|trial| trial.identity != identity) {
                    return Err(ChangeError::Conflict("it is another one by now".to_owned()));
                }
                overlay.abort(written, filter)
            });
        if changed.is_ok() {
            let labels = [("filter", filter)];
            self.proxy.registry().counter(&names::FILTER_CANARIES_ROLLED_BACK, &labels).inc();
            tracing::error!(filter, "the canary was taken back: {why}");
            let message = format!("the canary was taken back: {why}");
            self.proxy.registry().events().tell(
                &event_kinds::CANARY_ROLLED_BACK,
                filter,
                message,
                json!({ "why": why }),
            );
        }
    }

    pub(super) fn load(&self, received: &[Fragment]) -> Result<(Arc<Config>, Overlay), Report> {
        match &self.file {
            Some(file) => {
                let written = file.load(received)?;
                *lock(&self.looked_at) = watched(&written);
                let (overlay, gone) = self.proxy.snapshot().overlay.on(&written);
                for filter in gone {
                    tracing::info!(filter, "what was changed over the admin endpoint gives way to the configuration");
                }
                Ok((Arc::new(written), overlay))
            }
            None => {
                let problem = Problem::new(Origin::default(), "the configuration of this process is not in a file");
                Err(Report::single(Arc::default(), problem))
            }
        }
    }

    pub(super) fn in_turn<T>(&self, change: impl FnOnce() -> T) -> T {
        let _turn = lock(&self.turn);
        change()
    }

    pub(super) fn changes(&self, prepared: &Prepared) -> Vec<String> {
        let before = self.proxy.snapshot();
        let hash =
            |blueprint: &crate::wasm::build::Blueprint, name: &str| blueprint.facts(name).map(|facts| facts.hash);
        difference::between(&before.config, &prepared.config, |name| {
            (hash(&before.blueprint, name), hash(&prepared.blueprint, name))
        })
    }

    pub(super) fn lines(&self, prepared: &Prepared) -> Vec<Line> {
        let before = self.proxy.snapshot();
        lines::between(&before.config.sources.as_written(), &prepared.config.sources.as_written())
    }

    /// Applies a generation. What runs then is kept on disk.
    pub(super) fn apply(&self, prepared: &Prepared) -> Result<Applied, Report> {
        let applied = self.proxy.apply(prepared)?;
        if matches!(applied, Applied::Generation(_)) {
            self.keep();
            self.changed.notify_one();
        }
        Ok(applied)
    }

    pub(super) fn change(&self, who: &str, what: &str, prepared: Result<Prepared, Report>) -> Result<Applied, Report> {
        let changes = prepared.as_ref().map(|prepared| self.changes(prepared)).unwrap_or_default();
        let diff = prepared.as_ref().map(|prepared| self.lines(prepared)).unwrap_or_default();
        let applied = prepared.and_then(|prepared| self.apply(&prepared));
        let outcome = match &applied {
            Ok(Applied::Generation(generation)) if what.starts_with("rollback") => Outcome::RolledBack(*generation),
            Ok(Applied::Generation(generation)) => Outcome::Applied(*generation),
            Ok(Applied::Unchanged(generation)) => Outcome::Unchanged(*generation),
            Err(report) => Outcome::Refused(report.summary()),
        };
        // It looks rather once too often.
        if who == watch::WATCH && matches!(outcome, Outcome::Unchanged(_)) {
            return applied;
        }
        self.note_with(who, what, changes, diff, outcome);
        applied
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a change on a thread of its own, and waits for it. Must be called inside the control plane's runtime.
///
/// # Errors
/// Of the operating system, when there is no thread to be had.
pub async fn aside<T: Send + 'static>(change: impl FnOnce() -> T + Send + 'static) -> std::io::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("fyke-reload".to_owned()).spawn(move || {
        let _entered = runtime.enter();
        let _ = done.send(change());
    })?;
    result.await.map_err(|_| std::io::Error::other("the change has panicked: please report this"))
}

impl Keeper {
    /// What is to be watched now: what runs depends on it, or what was refused and may be right by then.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        let mut paths = watched(&self.proxy.snapshot().config);
        paths.extend(lock(&self.looked_at).iter().cloned());
        paths
    }

    /// What generations that can be gone back to depend on.
    #[must_use]
    pub fn once_watched(&self) -> Vec<PathBuf> {
        self.proxy.history().iter().flat_map(|snapshot| watched(&snapshot.config)).collect()
    }
}

/// The configuration's own files and the modules that are to be watched.
fn watched(config: &Config) -> Vec<PathBuf> {
    use crate::config::resolved::{ModuleSource, Reload};
    let filters = config
        .filters
        .values()
        .flat_map(|filter| std::iter::once(filter).chain(filter.canary.as_ref().map(|canary| &canary.version)));
    let modules = filters.filter(|filter| filter.reload == Reload::Watch).filter_map(|filter| match &filter.module {
        ModuleSource::File(path) if filter.signed_by.is_empty() => Some(vec![path.clone()]),
        ModuleSource::File(path) => Some(vec![path.clone(), source::beside(path)]),
        // What they lead to does not change by itself.
        ModuleSource::Builtin(_) | ModuleSource::Loaded(_) | ModuleSource::Https(_) | ModuleSource::Oci(_) => None,
    });
    let own = if config.reload == Reload::Watch { config.files.clone() } else { Vec::new() };
    own.into_iter().chain(modules.flatten()).collect()
}
