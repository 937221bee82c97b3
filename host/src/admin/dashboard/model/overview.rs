//! The first page: how everything is.

use serde::Serialize;

use super::{Provenance, Severity, Subject, Time};

/// Steps that the trend of a [`Service`] in a list should have: small charts show no more.
pub const SPARK: usize = 60;

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Overview {
    /// Listeners and clusters.
    pub services: Vec<Service>,
    /// Services that the history has no room for.
    pub services_left_out: u64,
    /// What somebody should look at, worst first.
    pub warnings: Vec<Warning>,
    /// Last attempts to change what runs, newest first.
    pub reloads: Vec<Reload>,
}

/// What a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceKind {
    /// Requests come in there.
    Listener,
    /// Requests go out there.
    Cluster,
}

impl ServiceKind {
    /// Its word in paths and pages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Cluster => "cluster",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Listener, Self::Cluster].into_iter().find(|kind| kind.word() == word)
    }
}

/// A listener or a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// What it is.
    pub kind: ServiceKind,
    /// Its name.
    pub name: String,
    /// What it does: an address and protocol, or a protocol and a balancer.
    pub detail: String,
    /// Where it was defined, when it was last used.
    pub provenance: Provenance,
    /// The last seconds.
    pub now: Summary,
    /// The last hour.
    pub hour: Summary,
    /// The last hour, step by step: [`SPARK`] of them in lists.
    pub trend: Trend,
    /// Requests in flight.
    pub active: Option<u64>,
    /// Endpoints that may get requests, and all of them. Clusters only.
    pub endpoints: Option<(usize, usize)>,
}

/// What was counted over some time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Summary {
    /// How long, in seconds, without the gaps.
    pub seconds: f64,
    /// Requests.
    pub requests: u64,
    /// Requests per second.
    pub rate: Option<f64>,
    /// Share of the requests that did not fail.
    pub success: Option<f64>,
    /// Half of the requests took no longer, in seconds.
    pub p50: Option<f64>,
    /// 90% took no longer.
    pub p90: Option<f64>,
    /// 99% took no longer.
    pub p99: Option<f64>,
}

/// Numbers step by step. All lists are of the same length; `None`: nobody counted then, or there was nothing to count.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Trend {
    /// Beginning of the first step.
    pub start: Time,
    /// Length of a step, in seconds.
    pub step: f64,
    /// Requests per second.
    pub rate: Vec<Option<f64>>,
    /// Failed requests per second.
    pub failures: Vec<Option<f64>>,
    /// Median duration in seconds.
    pub p50: Vec<Option<f64>>,
    /// 90th percentile.
    pub p90: Vec<Option<f64>>,
    /// 99th percentile.
    pub p99: Vec<Option<f64>>,
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warning {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// What is wrong.
    pub text: String,
    /// What to try.
    pub help: Option<String>,
    /// Since when.
    pub since: Option<Time>,
}

/// An attempt to change what runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reload {
    /// When it ended.
    pub at: Time,
    /// Who asked for it.
    pub who: String,
    /// What was asked for.
    pub what: String,
    /// How it went.
    pub outcome: ReloadOutcome,
    /// The generation that runs since.
    pub generation: Option<u64>,
    /// What is different, in words.
    pub changes: Vec<String>,
    /// What is different, in the words of the configuration.
    pub diff: Vec<DiffLine>,
    /// Why it was refused.
    pub error: Option<String>,
}

/// How a reload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// It runs.
    Applied,
    /// There was nothing to change.
    Unchanged,
    /// What ran goes on.
    Refused,
    /// An older generation runs again.
    RolledBack,
    /// The process ends.
    Drains,
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffLine {
    /// Which side has it.
    pub kind: DiffKind,
    /// The line, without a sign.
    pub text: String,
}

/// Which side of a difference has a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffKind {
    /// Both.
    Context,
    /// The new one.
    Added,
    /// The old one.
    Removed,
}
