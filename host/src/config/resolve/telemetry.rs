//! `tracing:` and `metrics:`

use std::time::Duration;

use super::{Resolver, place::Place};
use crate::{
    config::{
        raw,
        resolved::{ClusterProtocol, Collector, LogCollector, Metrics, Tracing},
    },
    telemetry::{
        otlp::{
            endpoint::{Endpoint, Security},
            exporter::METRICS_INTERVAL,
            settings::{Compression, Protocol, Settings, header},
        },
        registry::SERIES,
        statsd::{self, settings::Dialect, settings::Histograms, target::Target},
    },
};

/// Share of the traces that are recorded, unless another is written.
const SAMPLE: f64 = 1.0;
/// What holding a stream for less is not worth a span.
const FILTER_THRESHOLD: Duration = Duration::from_millis(1);

/// The name of a service that has none of its own: its fleet's.
fn service_of(node: &Option<raw::Node>) -> String {
    let fleet = node.as_ref().map(|node| node.cluster.clone());
    fleet.filter(|name| !name.is_empty()).unwrap_or_else(|| "fyke".to_owned())
}

impl Resolver<'_, '_> {
    pub(super) fn tracing(
        &mut self,
        raw: &raw::Tracing,
        node: &Option<raw::Node>,
        place: &Place<'_>,
    ) -> Option<Tracing> {
        self.contents.clear();
        let collector = self.collector(&raw.otlp, &place.key("otlp"))?;
        let service = raw.service.clone().filter(|name| !name.is_empty());
        Some(Tracing {
            collector,
            sample: raw.sample.map_or(SAMPLE, |sample| sample.0) / 100.0,
            filter_threshold: raw.filter_threshold.map_or(FILTER_THRESHOLD, |threshold| threshold.0),
            service: service.unwrap_or_else(|| service_of(node)),
            fingerprint: self.fingerprint(&(raw, node)),
        })
    }

    pub(super) fn metrics(
        &mut self,
        raw: &raw::Metrics,
        node: &Option<raw::Node>,
        place: &Place<'_>,
    ) -> Option<Metrics> {
        self.contents.clear();
        let mut wrong = false;
        let otlp = raw.otlp.as_ref().and_then(|otlp| {
            let collector = self.collector(otlp, &place.key("otlp"));
            wrong |= collector.is_none();
            collector
        });
        let statsd = raw.statsd.as_ref().and_then(|statsd| {
            let settings = self.statsd(statsd, raw.interval, &place.key("statsd"));
            wrong |= settings.is_none();
            settings
        });
        let interval = self.timeout(raw.interval, METRICS_INTERVAL, &place.key("interval"));
        if interval < statsd::settings::LEAST_INTERVAL || interval > statsd::settings::LONGEST {
            let place = place.key("interval");
            self.diagnostics.error(place.span, &place.path, "must be from 100ms to 24h");
            return None;
        }
        (!wrong).then(|| Metrics {
            statsd,
            otlp,
            interval,
            series: raw.series.and_then(|series| usize::try_from(series).ok()).unwrap_or(SERIES),
            service: service_of(node),
            fingerprint: self.fingerprint(&(raw, node)),
        })
    }

    /// Where a sink's records go.
    pub(super) fn log_collector(
        &mut self,
        raw: &raw::Collector,
        node: &Option<raw::Node>,
        place: &Place<'_>,
    ) -> Option<LogCollector> {
        self.contents.clear();
        let collector = self.collector(raw, place)?;
        let fingerprint = self.fingerprint(&(raw, node));
        let identity = super::identity(node.clone().unwrap_or_default());
        Some(LogCollector { collector, service: service_of(node), node: identity, fingerprint })
    }

    fn statsd(
        &mut self,
        raw: &raw::Statsd,
        interval: Option<crate::config::units::Duration>,
        place: &Place<'_>,
    ) -> Option<statsd::Settings> {
        let (address, full, written) = match raw {
            raw::Statsd::Address(address) => (address, None, place.clone()),
            raw::Statsd::Full(full) => (&full.address, Some(full), place.key("address")),
        };
        let target: Target = match address.parse() {
            Ok(target) => target,
            Err(error) => {
                self.diagnostics.error(written.span, &written.path, format!("{error}"));
                return None;
            }
        };
        let dog = full.is_some_and(|full| full.dialect == raw::StatsdDialect::Dogstatsd);
        let mut settings = if dog { statsd::Settings::dog(target) } else { statsd::Settings::new(target) };
        debug_assert_eq!(settings.dialect == Dialect::Dog, dog);
        if let Some(interval) = interval {
            settings.interval = interval.0;
        }
        if let Some(full) = full {
            if let Some(prefix) = &full.prefix {
                settings.prefix.clone_from(prefix);
            }
            if let Some(histograms) = full.histograms {
                settings.histograms = match histograms {
                    raw::StatsdHistograms::Summary => Histograms::Summary,
                    raw::StatsdHistograms::Timers => Histograms::Timers,
                    raw::StatsdHistograms::Distributions => Histograms::Distributions,
                };
            }
            if let Some(datagram) = full.datagram {
                settings.datagram = usize::try_from(datagram.0).unwrap_or(usize::MAX);
            }
            settings.refresh = self.timeout(full.refresh, settings.refresh, &place.key("refresh"));
        }
        if let Err(error) = settings.check() {
            self.diagnostics.error(written.span, &place.path, error.to_string());
            return None;
        }
        Some(settings)
    }

    fn collector(&mut self, raw: &raw::Collector, place: &Place<'_>) -> Option<Collector> {
        let (address, full, written) = match raw {
            raw::Collector::Address(address) => (address, None, place.clone()),
            raw::Collector::Full(full) => (&full.address, Some(full), place.key("address")),
        };
        let endpoint: Endpoint = match address.parse() {
            Ok(endpoint) => endpoint,
            Err(error) => {
                // The message may quote the value.
                let message = if written.is_secret() {
                    format!("{} is not an endpoint", written.shown())
                } else {
                    format!("{error}")
                };
                self.diagnostics.error(written.span, &written.path, message);
                return None;
            }
        };
        let mut settings = Settings::new(endpoint);
        let mut protocol = ClusterProtocol::Http2;
        if let Some(full) = full {
            if matches!(full.protocol, raw::CollectorProtocol::Http) {
                settings.protocol = Protocol::Http;
                protocol = ClusterProtocol::Http1;
            }
            if matches!(full.compression, raw::CollectorCompression::Gzip) {
                settings.compression = Compression::Gzip;
            }
            settings.batch.delay = self.timeout(full.delay, settings.batch.delay, &place.key("delay"));
            settings.timeout = self.timeout(full.timeout, settings.timeout, &place.key("timeout"));
            for (name, value) in &full.headers {
                match header(name, value) {
                    Ok(header) => settings.headers.push(header),
                    Err(error) => {
                        let place = place.key("headers").key(name);
                        self.diagnostics.error(place.span, &place.path, error.to_string());
                    }
                }
            }
        }
        if let Err(error) = settings.check() {
            self.diagnostics.error(written.span, &written.path, error.to_string());
        }
        let tls = full.and_then(|full| full.tls.as_deref());
        let secure = settings.endpoint.security() == Security::Tls;
        let place = place.key("tls");
        let tls = match (secure, tls) {
            (true, written) => {
                let default = raw::ClusterTls::default();
                Some(self.cluster_tls(written.unwrap_or(&default), protocol, &place)?)
            }
            (false, None) => None,
            (false, Some(_)) => {
                let help = "write `https://` in front of the address, or take this away";
                let message = "connections to this address have no TLS";
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
                None
            }
        };
        Some(Collector { settings, tls })
    }
}
