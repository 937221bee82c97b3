//! Why there is no host for a request.

use std::{error::Error, fmt};

/// Why there is no host for a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NoHost {
    /// The cluster has no hosts.
    Empty,
    /// No host is healthy, and panic is switched off.
    Unhealthy,
    /// A priority is in panic, and its requests are set to fail.
    Panic,
    /// No host has the labels that the request asks for, and there is no fallback.
    NoSubset,
    /// No host that may be used has the labels that the request insists on.
    Labels,
    /// The host that the request insists on is not there or not in a state to be used.
    Override,
    /// All hosts were taken out since the plan was made, and panic is switched off.
    Unusable,
}

impl NoHost {
    /// A stable word for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unhealthy => "unhealthy",
            Self::Panic => "panic",
            Self::NoSubset => "no_subset",
            Self::Labels => "labels",
            Self::Override => "override",
            Self::Unusable => "unusable",
        }
    }
}

impl fmt::Display for NoHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "the cluster has no endpoints",
            Self::Unhealthy => "none is healthy and the panic threshold is 0",
            Self::Panic => "too few are healthy and requests are set to fail in panic",
            Self::NoSubset => "none has the labels that the request asks for and there is no fallback",
            Self::Labels => "none that is available has the labels that the request insists on",
            Self::Override => "the endpoint that the request insists on is not available",
            Self::Unusable => "every one was taken out a moment ago and the panic threshold is 0",
        })
    }
}

impl Error for NoHost {}
