//! `tracing:`

use std::time::Duration;

use super::ClusterTls;
use crate::{config::fingerprint::Fingerprint, telemetry::otlp::settings::Settings};

/// `tracing:`
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Where spans go.
    pub collector: Collector,
    /// From 0 to 1: share of the traces that are recorded where nobody has decided before. Default 0.01.
    pub sample: f64,
    /// A filter that holds the headers of a recorded stream for at least this long gets a span. Default 1 ms.
    pub filter_threshold: Duration,
    /// `service.name`
    pub service: String,
    /// All of this, and of `node:`.
    pub fingerprint: Fingerprint,
}

/// A collector of OpenTelemetry.
#[derive(Debug, Clone)]
pub struct Collector {
    /// How it is spoken to.
    pub settings: Settings,
    /// For `https://`.
    pub tls: Option<ClusterTls>,
}
