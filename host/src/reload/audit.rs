//! What has changed what runs, or tried to: who, when, what, with which outcome.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use serde_json::json;

use super::lines::Line;

use crate::telemetry::{Counter, Events, Registry, event_kinds, names};

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
    /// The same line by line, where a configuration was compared with another one.
    pub diff: Vec<Line>,
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
    /// It was done; what runs is the same.
    Done,
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
            Self::Done => "done",
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
    events: Events,
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
            events: registry.events().clone(),
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
            Outcome::Done => tracing::info!(target: "fyke::audit", who, what, "done"),
        }
        self.tell(&entry);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push_back(entry);
        if entries.len() > KEPT {
            entries.pop_front();
        }
    }

    fn tell(&self, entry: &Entry) {
        let Entry { who, what, changes, .. } = entry;
        let told = match &entry.outcome {
            Outcome::Applied(generation) => {
                Some((&event_kinds::RELOADED, Some(generation), format!("generation {generation} runs")))
            }
            Outcome::RolledBack(generation) => {
                let message = format!("an older generation runs again, as generation {generation}");
                Some((&event_kinds::ROLLED_BACK, Some(generation), message))
            }
            Outcome::Refused(why) => Some((&event_kinds::RELOAD_REFUSED, None, format!("{what} was refused: {why}"))),
            Outcome::Drains => Some((&event_kinds::DRAIN, None, "no more is accepted".to_owned())),
            Outcome::Unchanged(_) | Outcome::Done => None,
        };
        if let Some((kind, generation, message)) = told {
            let fields = json!({ "who": who, "what": what, "generation": generation, "changes": changes });
            self.events.tell(kind, "", message, fields);
        }
    }

    /// The last attempt to change what runs.
    #[must_use]
    pub fn last_change(&self) -> Option<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().rev().find(|entry| entry.outcome != Outcome::Done).cloned()
    }

    /// What is kept, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
