//! What has happened.

use serde::Serialize;

use super::{Severity, Subject, Time};

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Rises with every event of the process.
    pub id: u64,
    /// When.
    pub at: Time,
    /// What kind of thing.
    pub kind: EventKind,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// What happened, in one line.
    pub text: String,
    /// More about it; empty: nothing.
    pub detail: String,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A configuration was applied, refused or taken back.
    Reload,
    /// An endpoint's health changed.
    Health,
    /// A filter trapped, or its breaker opened.
    Trap,
    /// A canary began or ended.
    Canary,
    /// A certificate was loaded or is about to expire.
    Certificate,
    /// The process does less because a limit is near.
    Overload,
    /// Discovery added or removed endpoints.
    Discovery,
    /// Somebody changed something by hand.
    Operator,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Reload,
        Self::Health,
        Self::Trap,
        Self::Canary,
        Self::Certificate,
        Self::Overload,
        Self::Discovery,
        Self::Operator,
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Health => "health",
            Self::Trap => "trap",
            Self::Canary => "canary",
            Self::Certificate => "certificate",
            Self::Overload => "overload",
            Self::Discovery => "discovery",
            Self::Operator => "operator",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}
