//! `tracing:` and `metrics:`

use std::time::Duration;

use super::{ClusterTls, Node};
use crate::{
    config::fingerprint::Fingerprint,
    telemetry::{otlp::settings::Settings, statsd},
};

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

/// `metrics:`
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are sent as StatsD.
    pub statsd: Option<statsd::Settings>,
    /// Where they are sent by OTLP.
    pub otlp: Option<Collector>,
    /// How often by OTLP. Default 1 min.
    pub interval: Duration,
    /// Most series of the proxy's own.
    pub series: usize,
    /// `service.name`
    pub service: String,
    /// All of this, and of `node:`.
    pub fingerprint: Fingerprint,
}

/// Where a sink's records are sent.
#[derive(Debug, Clone)]
pub struct LogCollector {
    /// The collector.
    pub collector: Collector,
    /// `service.name`
    pub service: String,
    /// Whose records they are.
    pub node: Node,
    /// All of this.
    pub fingerprint: Fingerprint,
}

impl PartialEq for LogCollector {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for LogCollector {}

/// A collector of OpenTelemetry.
#[derive(Debug, Clone)]
pub struct Collector {
    /// How it is spoken to.
    pub settings: Settings,
    /// For `https://`.
    pub tls: Option<ClusterTls>,
}
