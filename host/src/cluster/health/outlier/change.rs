//! What a detector decided, in words.

use std::{fmt, time::Duration};

use super::Reason;

/// A decision on one host. Its `Display` is a sentence for the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<K> {
    /// Which host.
    pub host: K,
    /// What was decided.
    pub verdict: Verdict,
}

/// What was decided of a host.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The host is left out of load balancing from now on.
    Ejected {
        /// Why; label for metrics.
        reason: Reason,
        /// What it was found by.
        evidence: Evidence,
        /// For how long, jitter included; the sweep after it ends it.
        duration: Duration,
    },
    /// The host is an outlier, and chance (`enforcing_*`) let it stay.
    NotEnforced {
        /// Why; label for metrics.
        reason: Reason,
        /// What it was found by.
        evidence: Evidence,
    },
    /// The host is an outlier, and `max_ejection_percent` let it stay.
    Overflow {
        /// Why; label for metrics.
        reason: Reason,
        /// What it was found by.
        evidence: Evidence,
    },
    /// The host takes part in load balancing again.
    Unejected {
        /// What brought it back.
        cause: Return,
        /// How long it was out.
        after: Duration,
    },
}

/// What brought a host back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// Its ejection time is over.
    Elapsed,
    /// It passed an active health check (`successful_active_health_check_uneject_host`).
    HealthCheck,
}

/// The numbers that made a host an outlier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Evidence {
    /// Failures in a row.
    Consecutive {
        /// How many.
        failures: u32,
    },
    /// A success rate below what the cluster's allow. Percentages.
    SuccessRate {
        /// The host's.
        host: f64,
        /// The mean of the cluster.
        average: f64,
        /// Below which a host is an outlier.
        threshold: f64,
    },
    /// A share of failures. Percentages.
    FailurePercentage {
        /// The host's.
        host: f64,
        /// From which on a host is an outlier.
        threshold: u32,
    },
}

impl Verdict {
    /// Why the host was held for an outlier; `None` where it came back.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Ejected { reason, .. } | Self::NotEnforced { reason, .. } | Self::Overflow { reason, .. } => {
                Some(*reason)
            }
            Self::Unejected { .. } => None,
        }
    }
}

impl<K: fmt::Display> fmt::Display for Change<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.verdict {
            Verdict::Ejected { reason, evidence, duration } => {
                write!(formatter, "{host} is ejected for {duration:?}: ")?;
                evidence.words(*reason, formatter)
            }
            Verdict::NotEnforced { reason, evidence } => {
                write!(formatter, "{host} is an outlier, not ejected as chance would have it (enforcing): ")?;
                evidence.words(*reason, formatter)
            }
            Verdict::Overflow { reason, evidence } => {
                write!(formatter, "{host} is an outlier, not ejected as too many are (max_ejection_percent): ")?;
                evidence.words(*reason, formatter)
            }
            Verdict::Unejected { cause: Return::Elapsed, after } => {
                write!(formatter, "{host} is back after {after:?}: its ejection time is over")
            }
            Verdict::Unejected { cause: Return::HealthCheck, after } => {
                write!(formatter, "{host} is back after {after:?}: it passed an active health check")
            }
        }
    }
}

impl Evidence {
    fn words(&self, reason: Reason, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match reason {
            Reason::Consecutive5xx => "5xx answers",
            Reason::ConsecutiveGatewayFailure => "502, 503 or 504 answers",
            Reason::ConsecutiveLocalOriginFailure => "failures to connect, timeouts or resets",
            Reason::SuccessRate | Reason::FailurePercentage => "requests",
            Reason::LocalOriginSuccessRate | Reason::LocalOriginFailurePercentage => "connections",
        };
        match self {
            Self::Consecutive { failures } => write!(formatter, "{failures} {what} in a row"),
            Self::SuccessRate { host, average, threshold } => write!(
                formatter,
                "{host:.1}% of its {what} succeeded, below {threshold:.1}%; {average:.1}% do in the cluster on average"
            ),
            Self::FailurePercentage { host, threshold } => {
                write!(formatter, "{host:.1}% of its {what} failed, {threshold}% are too many")
            }
        }?;
        write!(formatter, " ({reason})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(verdict: Verdict) -> String {
        Change { host: "10.0.0.1:80", verdict }.to_string()
    }

    #[test]
    fn changes_read_as_sentences() {
        let reason = Reason::Consecutive5xx;
        let evidence = Evidence::Consecutive { failures: 5 };
        assert_eq!(
            words(Verdict::Ejected { reason, evidence, duration: Duration::from_secs(30) }),
            "10.0.0.1:80 is ejected for 30s: 5 5xx answers in a row (consecutive_5xx)"
        );
        let (reason, evidence) =
            (Reason::SuccessRate, Evidence::SuccessRate { host: 50.0, average: 90.0, threshold: 52.0 });
        assert_eq!(
            words(Verdict::NotEnforced { reason, evidence }),
            "10.0.0.1:80 is an outlier, not ejected as chance would have it (enforcing): 50.0% of its requests \
             succeeded, below 52.0%; 90.0% do in the cluster on average (success_rate)"
        );
        let (reason, evidence) =
            (Reason::LocalOriginFailurePercentage, Evidence::FailurePercentage { host: 90.0, threshold: 85 });
        assert_eq!(
            words(Verdict::Overflow { reason, evidence }),
            "10.0.0.1:80 is an outlier, not ejected as too many are (max_ejection_percent): 90.0% of its connections \
             failed, 85% are too many (local_origin_failure_percentage)"
        );
        let after = Duration::from_secs(40);
        assert_eq!(
            words(Verdict::Unejected { cause: Return::Elapsed, after }),
            "10.0.0.1:80 is back after 40s: its ejection time is over"
        );
    }
}
