//! What one check found.

use super::AgentReply;

/// The result of one check of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The host is well.
    Passed,
    /// The host is well and asks to be spared (`x-envoy-degraded`): used when the healthy hosts do not suffice.
    Degraded,
    /// An agent spoke for the host.
    Agent(AgentReply),
    /// The host is not well.
    Failed(Failure),
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How grave it is.
    pub kind: FailureKind,
    /// Whether the host asked to be left out altogether.
    pub exclusion: Exclusion,
    /// For an operator: "GET /healthz answered 500, expected 200".
    pub words: String,
}

/// How grave a failure is (`envoy.data.core.v3.HealthCheckFailureType`, and whether it is retriable).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The host answered, and not well. Makes it unhealthy at once.
    Active,
    /// The host answered with a status that may pass. It takes `unhealthy` of them in a row.
    Retriable,
    /// No connection, or one that broke, or bytes that are not the protocol. It takes `unhealthy` of them in a row.
    Network,
    /// No answer in time. It takes `unhealthy` of them in a row.
    Timeout,
    /// Ordinary traffic was answered with `x-envoy-immediate-health-check-fail`. Makes the host unhealthy at once.
    Passive,
}

/// What `x-envoy-immediate-health-check-fail` in a failed answer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exclusion {
    /// Nothing: the host counts as an unhealthy one.
    #[default]
    Keep,
    /// The host is left out, and not counted in the panic threshold either, until it is healthy again
    /// (`EXCLUDED_VIA_IMMEDIATE_HC_FAIL`).
    Exclude,
}

impl Failure {
    /// The host answered, and not well.
    pub(super) fn active(words: impl Into<String>) -> Self {
        Self::of(FailureKind::Active, words)
    }

    /// The host was not reached, or broke off, or does not speak the protocol.
    pub(super) fn network(words: impl Into<String>) -> Self {
        Self::of(FailureKind::Network, words)
    }

    pub(super) fn of(kind: FailureKind, words: impl Into<String>) -> Self {
        Self { kind, exclusion: Exclusion::Keep, words: words.into() }
    }
}

impl FailureKind {
    /// Label for metrics, as in Envoy's `health_check.` statistics and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retriable => "retriable",
            Self::Network => "network",
            Self::Timeout => "network_timeout",
            Self::Passive => "passive",
        }
    }
}
