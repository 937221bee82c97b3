//! A rule's limit, and how hits are measured by it.

use std::sync::Arc;
use std::time::Duration;

use crate::messages::{CurrentLimit, Unit};
use crate::metrics::RuleStats;

/// How hits are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// A count that begins anew with each unit, at multiples of it since the Unix epoch: what envoyproxy/ratelimit does. Hits that are
    /// refused count too.
    #[default]
    FixedWindow,
    /// The generic cell rate algorithm: as many in each unit, evenly, of which `burst` may come at once. Hits that are refused count nothing.
    Gcra {
        /// How many may come at once.
        burst: u32,
    },
}

/// What a counter is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measure {
    /// How many in each unit. Zero refuses every hit.
    pub requests_per_unit: u32,
    /// The unit; never [`Unit::Unknown`] where something is counted.
    pub unit: Unit,
    /// How.
    pub algorithm: Algorithm,
}

/// A limit of a rule.
#[derive(Debug, Clone)]
pub struct Limit {
    /// What is allowed.
    pub measure: Measure,
    /// Everything is; `measure` means nothing.
    pub unlimited: bool,
    /// Tells clients that a hit was within the limit where it was not.
    pub shadow_mode: bool,
    /// For `replaces`, and for clients.
    pub name: String,
    /// The names of limits that do not apply where this one does.
    pub replaces: Vec<String>,
    /// Whether metrics have the values of all entries in them.
    pub detailed_metric: bool,
    /// What it has done.
    pub stats: Arc<RuleStats>,
}

impl Measure {
    /// How long a unit is.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.unit.seconds().unwrap_or(1))
    }

    /// What counters of it are called after the unit, so that those of another measure are never taken for them.
    #[must_use]
    pub(crate) const fn tag(&self) -> (&'static str, &'static str) {
        match self.algorithm {
            Algorithm::FixedWindow => (self.unit.name(), ""),
            Algorithm::Gcra { .. } => (self.unit.name(), "~"),
        }
    }

    /// As clients are told.
    #[must_use]
    pub(crate) fn current(&self, name: &str) -> CurrentLimit {
        CurrentLimit { requests_per_unit: self.requests_per_unit, unit: self.unit.into(), name: name.to_owned() }
    }

    /// The most that passes at once.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        match self.algorithm {
            Algorithm::FixedWindow => self.requests_per_unit as u64,
            Algorithm::Gcra { burst } => burst as u64,
        }
    }
}
