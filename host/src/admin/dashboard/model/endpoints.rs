//! Endpoints of all clusters.

use serde::Serialize;

use super::{Provenance, Time};

/// How an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It gets no requests.
    Unhealthy,
    /// It gets fewer, where others are better.
    Degraded,
    /// It gets no new ones where others can.
    Draining,
    /// All is well.
    Healthy,
}

impl Health {
    /// All of them, worst first.
    pub const ALL: [Self; 4] = [Self::Unhealthy, Self::Degraded, Self::Draining, Self::Healthy];

    /// Its word, as in the configuration and the metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Healthy => "healthy",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|health| health.word() == word)
    }
}

/// A cluster and its endpoints.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ClusterEndpoints {
    /// Name of the cluster.
    pub name: String,
    /// Its balancer and protocol, in words.
    pub detail: String,
    /// How it is checked: `http /healthz every 5s`; empty: not at all.
    pub checked: String,
    /// Where it was defined, when it was last used.
    pub provenance: Provenance,
    /// Requests that wait for a connection.
    pub pending: Option<u64>,
    /// Open connections, and most of them.
    pub connections: Option<u64>,
    /// Most of them.
    pub connections_limit: Option<u64>,
    /// Requests sent again.
    pub retries: Option<u64>,
    /// Requests that a limit of the cluster refused.
    pub overflows: Option<u64>,
    /// Requests for which there was no endpoint.
    pub no_endpoint: Option<u64>,
    /// In the order of the configuration.
    pub endpoints: Vec<EndpointRow>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointRow {
    /// Its address and port.
    pub address: String,
    /// Its zone; empty: none.
    pub zone: String,
    /// Its priority; 0 comes first.
    pub priority: u32,
    /// Where it was defined, when it was last used.
    pub provenance: Provenance,
    /// How it is.
    pub health: Health,
    /// Since when.
    pub since: Option<Time>,
    /// Why it is not healthy; empty when it is.
    pub reasons: Vec<String>,
    /// Whether an operator has it drain.
    pub drained: bool,
    /// The last active check.
    pub check: Option<Check>,
    /// Weight as it is configured, or as an operator has set it.
    pub weight: u32,
    /// What it says of its own weight, and slow start, in percent.
    pub weight_percent: u32,
    /// Open connections.
    pub connections: Option<u64>,
    /// Requests in flight.
    pub active: Option<u64>,
    /// Requests per second, of the last seconds.
    pub rate: Option<f64>,
    /// Requests since it is known.
    pub requests: Option<u64>,
    /// Median duration in seconds, of the last minutes.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// What went wrong since it is known.
    pub errors: Option<Errors>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// When it ended.
    pub at: Time,
    /// Whether it passed.
    pub outcome: CheckOutcome,
    /// What was found, in words: `HTTP 200`, `connection refused`.
    pub finding: String,
    /// How long it took, in seconds.
    pub took: Option<f64>,
}

/// Whether a check passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// It did.
    Passed,
    /// It did not.
    Failed,
}

/// Failed requests by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Errors {
    /// No connection could be opened.
    pub connect: u64,
    /// No answer in time.
    pub timeout: u64,
    /// The connection broke.
    pub reset: u64,
    /// Answers 500 to 599.
    pub status_5xx: u64,
}

impl Errors {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.connect.saturating_add(self.timeout).saturating_add(self.reset).saturating_add(self.status_5xx)
    }
}
