//! `tracing:`

use std::time::Duration;

use super::{Resolver, place::Place};
use crate::{
    config::{
        raw,
        resolved::{ClusterProtocol, Collector, Tracing},
    },
    telemetry::otlp::{
        endpoint::{Endpoint, Security},
        settings::{Compression, Protocol, Settings, header},
    },
};

/// Share of the traces that are recorded, unless another is written.
const SAMPLE: f64 = 1.0;
/// What holding a stream for less is not worth a span.
const FILTER_THRESHOLD: Duration = Duration::from_millis(1);

impl Resolver<'_, '_> {
    pub(super) fn tracing(
        &mut self,
        raw: &raw::Tracing,
        node: &Option<raw::Node>,
        place: &Place<'_>,
    ) -> Option<Tracing> {
        self.contents.clear();
        let collector = self.collector(&raw.otlp, &place.key("otlp"))?;
        let service = raw.service.clone().or_else(|| node.as_ref().map(|node| node.cluster.clone()));
        Some(Tracing {
            collector,
            sample: raw.sample.map_or(SAMPLE, |sample| sample.0) / 100.0,
            filter_threshold: raw.filter_threshold.map_or(FILTER_THRESHOLD, |threshold| threshold.0),
            service: service.filter(|name| !name.is_empty()).unwrap_or_else(|| "fyke".to_owned()),
            fingerprint: self.fingerprint(&(raw, node)),
        })
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
