//! What is known of where a cluster's endpoints come from.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// What has become of asking. It outlives generations, as long as the cluster is found somewhere.
#[derive(Debug, Default)]
pub struct Found(Mutex<State>);

/// What is known now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The version that counts, in the source's own words.
    pub version: String,
    /// When that version came; `None`: nothing has come so far, or it is from disk.
    pub updated: Option<SystemTime>,
    /// When the source last answered.
    pub answered: Option<SystemTime>,
    /// Endpoints of that version.
    pub hosts: usize,
    /// What counts is what was known when the process ended before.
    pub from_disk: bool,
    /// Answers that changed something.
    pub updates: u64,
    /// Answers that changed nothing.
    pub unchanged: u64,
    /// Answers without a single endpoint, which count for nothing.
    pub empty: u64,
    /// Answers that could not be meant.
    pub malformed: u64,
    /// Times that there was no answer.
    pub unreachable: u64,
    /// Why the last question led to nothing; empty: it did not.
    pub failure: String,
}

impl Found {
    /// What is known.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the last question led to nothing.
    #[must_use]
    pub fn fails(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).failure.is_empty()
    }

    /// Changes what is known.
    pub fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
