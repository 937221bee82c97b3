//! Changes what runs when somebody asks: one change after the other, each in the audit log.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{
    audit::{Audit, Entry, Outcome},
    difference,
    prepare::Prepared,
    proxy::{Applied, Proxy},
    watch,
};
use crate::config::{self, Config, Origin, Problem, Report};

/// The one that changes a proxy. Every change blocks the thread that asks for it until it has been made or refused.
pub struct Keeper {
    /// What is changed.
    pub proxy: Arc<Proxy>,
    /// What was changed.
    pub audit: Audit,
    /// Where the configuration is read again; `None`: it was not read from a file.
    file: Option<PathBuf>,
    /// One at a time.
    turn: Mutex<()>,
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

impl Keeper {
    /// Keeps a proxy that was started with the configuration in `file`.
    #[must_use]
    pub fn new(proxy: Arc<Proxy>, file: Option<&Path>) -> Self {
        let audit = Audit::new(proxy.registry());
        Self { proxy, audit, file: file.map(Path::to_owned), turn: Mutex::default() }
    }

    /// Reads the configuration again and applies it.
    ///
    /// # Errors
    /// Everything that is wrong with it; what ran goes on then.
    pub fn reload(&self, who: &str) -> Result<Applied, Report> {
        self.in_turn(|| {
            let loaded = self.load().and_then(|config| self.proxy.prepare(config));
            self.change(who, "reload", loaded)
        })
    }

    /// What a reload would do, without doing it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn difference(&self) -> Result<Vec<String>, Report> {
        self.in_turn(|| {
            let config = self.load()?;
            self.proxy.prepare(config).map(|prepared| self.changes(&prepared))
        })
    }

    /// Has an older generation run again; without a number the one before.
    ///
    /// # Errors
    /// [`RollbackError`]; what ran goes on then.
    pub fn rollback(&self, who: &str, to: Option<u64>) -> Result<Applied, RollbackError> {
        self.in_turn(|| {
            let kept: Vec<u64> = self.proxy.history().iter().map(|snapshot| snapshot.generation).collect();
            let wanted = match to {
                Some(wanted) => wanted,
                None => kept.iter().rev().nth(1).copied().ok_or(RollbackError::Only)?,
            };
            let Some(prepared) = self.proxy.again(wanted) else {
                let kept = kept.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
                return Err(RollbackError::Unknown { wanted, kept });
            };
            self.change(who, &format!("rollback {wanted}"), Ok(prepared)).map_err(RollbackError::Refused)
        })
    }

    fn load(&self) -> Result<Config, Report> {
        match &self.file {
            Some(file) => config::load(file),
            None => {
                let problem = Problem::new(Origin::default(), "the configuration of this process is not in a file");
                Err(Report::single(Arc::default(), problem))
            }
        }
    }

    fn in_turn<T>(&self, change: impl FnOnce() -> T) -> T {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        change()
    }

    fn changes(&self, prepared: &Prepared) -> Vec<String> {
        let before = self.proxy.snapshot();
        let hash =
            |blueprint: &crate::wasm::build::Blueprint, name: &str| blueprint.facts(name).map(|facts| facts.hash);
        difference::between(&before.config, &prepared.config, |name| {
            (hash(&before.blueprint, name), hash(&prepared.blueprint, name))
        })
    }

    fn change(&self, who: &str, what: &str, prepared: Result<Prepared, Report>) -> Result<Applied, Report> {
        let changes = prepared.as_ref().map(|prepared| self.changes(prepared)).unwrap_or_default();
        let applied = prepared.and_then(|prepared| self.proxy.apply(&prepared));
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
        self.audit.write(Entry {
            when: SystemTime::now(),
            who: who.to_owned(),
            what: what.to_owned(),
            changes,
            outcome,
        });
        applied
    }
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

/// The configuration's own files and the modules that are to be watched.
#[must_use]
pub fn watched(config: &Config) -> Vec<PathBuf> {
    use config::resolved::{ModuleSource, Reload};
    let modules = config.filters.values().filter(|filter| filter.reload == Reload::Watch);
    let modules = modules.filter_map(|filter| match &filter.module {
        ModuleSource::File(path) => Some(path.clone()),
        ModuleSource::Builtin(_) => None,
    });
    let own = if config.reload == Reload::Watch { config.files.clone() } else { Vec::new() };
    own.into_iter().chain(modules).collect()
}
