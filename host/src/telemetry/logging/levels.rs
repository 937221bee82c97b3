//! Levels of the log that somebody changes while the process runs. Each goes back by itself.
//!
//! What the process was started with is the base and never changes. A change lies on top of it, for one target, until its
//! deadline: whoever looks for something must not leave a log behind that fills a disk.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, time::Instant};
use tracing_subscriber::EnvFilter;

use super::LEVELS;
use crate::config::suggest;

/// How long a change holds when nobody says.
pub const USUAL: Duration = Duration::from_secs(5 * 60);
/// How long it may hold.
pub const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How short that may be.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// Targets that may be changed at a time.
pub const MOST: usize = 32;
/// Bytes of a target's name.
const NAME: usize = 128;

/// Has a filter take effect; `false`: nothing logs any more.
type Apply = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// The levels of a process. Clones are the same.
#[derive(Clone)]
pub struct Levels {
    inner: Arc<Inner>,
}

struct Inner {
    base: String,
    apply: Apply,
    changes: Mutex<BTreeMap<String, Change>>,
    /// The next deadline is another one.
    changed: Notify,
}

/// A level that holds for a while.
#[derive(Debug, Clone)]
pub struct Change {
    /// One of `off`, `error`, `warn`, `info`, `debug`, `trace`.
    pub level: &'static str,
    /// When it goes back.
    pub until: SystemTime,
    deadline: Instant,
}

/// Why a level was not changed. Nothing was then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// It is no level.
    #[error("there is no level {given:?}; {help}")]
    Level {
        /// What was given.
        given: String,
        /// What may have been meant.
        help: String,
    },
    /// It cannot be the name of a part of the program.
    #[error("{0:?} is no target: a target reads like fyke::http, and has {NAME} bytes at most")]
    Target(String),
    /// Too short or too long.
    #[error("a level holds for at least {SHORTEST:?} and at most {LONGEST:?}")]
    Time,
    /// There are too many.
    #[error("{MOST} targets have other levels already; wait for one to go back, or set one of them")]
    Many,
    /// Somebody else has taken over the log of this process.
    #[error("the log of this process does not follow any more")]
    Gone,
}

impl Levels {
    pub(super) fn new(base: String, apply: impl Fn(EnvFilter) -> bool + Send + Sync + 'static) -> Self {
        let inner = Inner { base, apply: Box::new(apply), changes: Mutex::default(), changed: Notify::new() };
        Self { inner: Arc::new(inner) }
    }

    /// What the process was started with: a level, or a list such as `info,fyke::filter=debug`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.inner.base
    }

    /// What is changed now, by target; the empty one is everything that has no level of its own.
    #[must_use]
    pub fn changes(&self) -> BTreeMap<String, Change> {
        self.lock().clone()
    }

    /// Has a target, and all below it, log at this level until `time` is over; another change of the same target is replaced. The empty
    /// target is everything that has no level of its own.
    ///
    /// # Errors
    /// [`LevelError`]; nothing has changed then.
    pub fn set(&self, target: &str, level: &str, time: Duration) -> Result<Change, LevelError> {
        let known = LEVELS.iter().find(|known| known.eq_ignore_ascii_case(level));
        let Some(level) = known.copied() else {
            return Err(LevelError::Level { given: level.to_owned(), help: suggest::help(level, &LEVELS) });
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-');
        if target.len() > NAME || !target.bytes().all(is_name) {
            return Err(LevelError::Target(target.chars().take(NAME).collect()));
        }
        if !(SHORTEST..=LONGEST).contains(&time) {
            return Err(LevelError::Time);
        }
        let mut changes = self.lock();
        if changes.len() >= MOST && !changes.contains_key(target) {
            return Err(LevelError::Many);
        }
        let change = Change { level, until: SystemTime::now() + time, deadline: Instant::now() + time };
        let before = changes.insert(target.to_owned(), change.clone());
        if !self.apply(&changes) {
            match before {
                Some(before) => changes.insert(target.to_owned(), before),
                None => changes.remove(target),
            };
            return Err(LevelError::Gone);
        }
        drop(changes);
        self.inner.changed.notify_one();
        Ok(change)
    }

    /// Has a target log again as the process was started. Returns whether it was changed.
    #[must_use]
    pub fn reset(&self, target: &str) -> bool {
        let mut changes = self.lock();
        let was = changes.remove(target).is_some();
        if was {
            self.apply(&changes);
        }
        was
    }

    /// Takes changes back when their time is over, until it is aborted.
    pub async fn keep(self) {
        loop {
            let next = self.lock().values().map(|change| change.deadline).min();
            let due = async {
                match next {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.expire(Instant::now()),
                () = self.inner.changed.notified() => {}
            }
        }
    }

    fn expire(&self, now: Instant) {
        let mut over = Vec::new();
        let mut changes = self.lock();
        changes.retain(|target, change| {
            let stays = change.deadline > now;
            if !stays {
                over.push(target.clone());
            }
            stays
        });
        self.apply(&changes);
        drop(changes);
        for target in over {
            tracing::info!(target: "fyke::audit", changed = target, "the level of the log is again what it was");
        }
    }

    fn apply(&self, changes: &BTreeMap<String, Change>) -> bool {
        let filter = EnvFilter::try_new(directives(&self.inner.base, changes));
        filter.is_ok_and(|filter| (self.inner.apply)(filter))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Change>> {
        self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Levels").field("base", &self.inner.base).field("changes", &self.changes()).finish()
    }
}

/// The base and what lies on top of it: of two directives for one target the later one holds.
fn directives(base: &str, changes: &BTreeMap<String, Change>) -> String {
    changes.iter().fold(base.to_owned(), |mut directives, (target, change)| {
        if !directives.is_empty() {
            directives.push(',');
        }
        if !target.is_empty() {
            directives.push_str(target);
            directives.push('=');
        }
        directives.push_str(change.level);
        directives
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels whose filters end up in a list.
    fn recorded(base: &str) -> (Levels, Arc<Mutex<Vec<String>>>) {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&applied);
        let levels = Levels::new(base.to_owned(), move |filter| {
            seen.lock().unwrap().push(filter.to_string());
            true
        });
        (levels, applied)
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_goes_back_by_itself_and_a_later_one_stays() {
        let (levels, applied) = recorded("info");
        let last = || applied.lock().unwrap().last().cloned().unwrap();
        let kept = tokio::spawn(levels.clone().keep());
        levels.set("fyke::http", "debug", Duration::from_secs(60)).unwrap();
        levels.set("", "WARN", Duration::from_secs(300)).unwrap();
        assert_eq!(last(), "fyke::http=debug,warn");
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(last(), "warn");
        assert_eq!(levels.changes().into_keys().collect::<Vec<_>>(), [""]);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!((last().as_str(), levels.changes().len()), ("info", 0));
        kept.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_change_of_a_target_replaces_the_earlier_one_and_its_deadline() {
        let (levels, applied) = recorded("warn,fyke::http=info");
        let kept = tokio::spawn(levels.clone().keep());
        levels.set("fyke::http", "trace", Duration::from_secs(10)).unwrap();
        levels.set("fyke::http", "debug", Duration::from_secs(100)).unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(applied.lock().unwrap().last().unwrap(), "fyke::http=debug,warn");
        assert!(levels.reset("fyke::http") && !levels.reset("fyke::http"));
        assert_eq!(applied.lock().unwrap().last().unwrap(), "fyke::http=info,warn");
        kept.abort();
    }

    #[tokio::test]
    async fn what_is_wrong_changes_nothing() {
        let (levels, applied) = recorded("info");
        let wrong = |target: &str, level: &str, seconds| {
            levels.set(target, level, Duration::from_secs(seconds)).unwrap_err().to_string()
        };
        assert!(wrong("fyke", "inof", 5).contains("did you mean \"info\"?"));
        assert!(wrong("fyke=trace,x", "info", 5).contains("is no target"));
        assert!(wrong("fyke[span]", "info", 5).contains("is no target"));
        assert!(wrong(&"f".repeat(129), "info", 5).contains("is no target"));
        assert!(wrong("fyke", "info", 0).contains("at least"));
        assert!(wrong("fyke", "info", 3601).contains("at most"));
        assert!(applied.lock().unwrap().is_empty());
        for number in 0..MOST {
            levels.set(&format!("fyke::t{number}"), "info", USUAL).unwrap();
        }
        assert!(wrong("one_more", "info", 5).contains("targets have other levels"));
        assert!(levels.set("fyke::t0", "debug", USUAL).is_ok());
    }
}
