//! What has changed what runs, or tried to: who, when, what, with which outcome.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use crate::telemetry::{Counter, Registry, names};

/// Entries that are kept.
const KEPT: usize = 200;

/// One attempt.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it ended.
    pub when: SystemTime,
    /// Who asked for it: `signal`, `watch`, or the caller of the admin endpoint.
    pub who: String,
    /// What was asked for, in the words of the command line.
    pub what: String,
    /// What it changed, in words; empty: nothing.
    pub changes: Vec<String>,
    /// How it went.
    pub outcome: Outcome,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It runs, as this generation.
    Applied(u64),
    /// There was nothing to change.
    Unchanged(u64),
    /// It was refused, for this reason.
    Refused(String),
    /// An older generation runs again, as this one.
    RolledBack(u64),
    /// The process takes no more and ends.
    Drains,
}

impl Outcome {
    /// For metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Unchanged(_) => "unchanged",
            Self::Refused(_) => "refused",
            Self::RolledBack(_) => "rolled_back",
            Self::Drains => "drains",
        }
    }
}

/// The last entries, and counts of all.
#[derive(Debug)]
pub struct Audit {
    entries: Mutex<VecDeque<Entry>>,
    applied: Counter,
    unchanged: Counter,
    refused: Counter,
    rolled_back: Counter,
}

impl Audit {
    /// An empty one.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let counter = |outcome| registry.counter(&names::PROCESS_RELOADS, &[("outcome", outcome)]);
        Self {
            entries: Mutex::default(),
            applied: counter("applied"),
            unchanged: counter("unchanged"),
            refused: counter("refused"),
            rolled_back: counter("rolled_back"),
        }
    }

    /// Counts, logs and keeps an entry.
    pub fn write(&self, entry: Entry) {
        let Entry { who, what, changes, .. } = &entry;
        let changes = changes.join("; ");
        match &entry.outcome {
            Outcome::Applied(generation) => {
                self.applied.inc();
                tracing::info!(target: "fyke::audit", who, what, generation, changes, "a new generation runs");
            }
            Outcome::Unchanged(generation) => {
                self.unchanged.inc();
                tracing::info!(target: "fyke::audit", who, what, generation, "nothing has changed");
            }
            Outcome::Refused(why) => {
                self.refused.inc();
                tracing::error!(target: "fyke::audit", who, what, "refused, what ran goes on: {why}");
            }
            Outcome::RolledBack(generation) => {
                self.rolled_back.inc();
                tracing::warn!(target: "fyke::audit", who, what, generation, changes, "an older generation runs again");
            }
            Outcome::Drains => tracing::info!(target: "fyke::audit", who, what, "no more is accepted"),
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push_back(entry);
        if entries.len() > KEPT {
            entries.pop_front();
        }
    }

    /// What is kept, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
