//! The vocabulary: how a request ended, and why a host is held for an outlier.

use std::fmt;

/// How a request to a host ended, as a worker tells [`super::HostOutlier::record`].
///
/// *External* outcomes are what the host answered, *local origin* ones what this proxy saw of the connection. An HTTP
/// request reports both: [`Self::LocalOriginSuccess`] when it has a connection, then how it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// External: any answer that is not a 5xx, or a transaction of another protocol that went well.
    Success,
    /// External: a 5xx other than 502, 503, 504, or a transaction that failed.
    ServerError,
    /// External: 502, 503, 504.
    GatewayError,
    /// The host could not be reached, or not for long enough. Unless origins are split it counts as
    /// [`Self::GatewayError`].
    LocalOrigin(LocalOriginFailure),
    /// There is a connection, and a protocol above it that will report as well. Says nothing unless origins are split
    /// (Envoy's `LOCAL_ORIGIN_CONNECT_SUCCESS`).
    LocalOriginSuccess,
    /// There is a connection, and nothing above it will report, as with plain TCP. Unless origins are split it counts
    /// as [`Self::Success`] (Envoy's `LOCAL_ORIGIN_CONNECT_SUCCESS_FINAL`).
    LocalOriginSuccessFinal,
}

/// What kept a request from being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalOriginFailure {
    /// No connection came about.
    ConnectFailure,
    /// Connecting, or the answer, took too long.
    Timeout,
    /// The connection broke before there was an answer.
    Reset,
}

/// Why a host is an outlier. [`Self::as_str`] is its label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Too many 5xx in a row.
    Consecutive5xx,
    /// Too many 502, 503 or 504 in a row.
    ConsecutiveGatewayFailure,
    /// Too many local origin failures in a row.
    ConsecutiveLocalOriginFailure,
    /// Answers succeed far less often than those of the other hosts.
    SuccessRate,
    /// Connections succeed far less often than those to the other hosts.
    LocalOriginSuccessRate,
    /// Too large a share of the answers are failures.
    FailurePercentage,
    /// Too large a share of the connections fail.
    LocalOriginFailurePercentage,
}

/// Rows of failures that reached their thresholds with one failure: to be passed to [`super::Detector::try_eject`] at
/// once.
///
/// One failure may complete two rows: a 503 continues that of gateway failures and that of 5xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an outlier is ejected only when `Detector::try_eject` is told"]
pub struct Detection {
    first: (Reason, u32),
    second: Option<(Reason, u32)>,
}

impl Detection {
    /// `None` when neither row is complete.
    pub(super) fn of(first: Option<(Reason, u32)>, second: Option<(Reason, u32)>) -> Option<Self> {
        match first {
            Some(first) => Some(Self { first, second }),
            None => second.map(|first| Self { first, second: None }),
        }
    }

    /// Which rows, and how many failures were in each; in the order in which Envoy acts on them.
    pub fn rows(&self) -> impl Iterator<Item = (Reason, u32)> + use<> {
        std::iter::once(self.first).chain(self.second)
    }
}

impl Outcome {
    /// The external outcome of an HTTP status.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Self::GatewayError,
            500..=599 => Self::ServerError,
            _ => Self::Success,
        }
    }
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::Consecutive5xx,
        Self::ConsecutiveGatewayFailure,
        Self::ConsecutiveLocalOriginFailure,
        Self::SuccessRate,
        Self::LocalOriginSuccessRate,
        Self::FailurePercentage,
        Self::LocalOriginFailurePercentage,
    ];

    /// The end of Envoy's `ejections_detected_*` and `ejections_enforced_*`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
            Self::SuccessRate => "success_rate",
            Self::LocalOriginSuccessRate => "local_origin_success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::LocalOriginFailurePercentage => "local_origin_failure_percentage",
        }
    }

    /// Envoy's field with the chance of this reason; its last is not named like the metric.
    pub(super) fn enforcing_field(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "enforcing_consecutive_5xx",
            Self::ConsecutiveGatewayFailure => "enforcing_consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailure => "enforcing_consecutive_local_origin_failure",
            Self::SuccessRate => "enforcing_success_rate",
            Self::LocalOriginSuccessRate => "enforcing_local_origin_success_rate",
            Self::FailurePercentage => "enforcing_failure_percentage",
            Self::LocalOriginFailurePercentage => "enforcing_failure_percentage_local_origin",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart_at_their_borders() {
        let rows = [
            (200, Outcome::Success),
            (499, Outcome::Success),
            (500, Outcome::ServerError),
            (501, Outcome::ServerError),
            (502, Outcome::GatewayError),
            (504, Outcome::GatewayError),
            (505, Outcome::ServerError),
            (599, Outcome::ServerError),
            (600, Outcome::Success),
        ];
        for (status, outcome) in rows {
            assert_eq!(Outcome::of_status(status), outcome, "{status}");
        }
    }
}
