//! How it is found out which endpoints are well.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{Resolver, balancing::whole, place::Place};
use crate::{
    cluster::health::{
        active::{self, AgentCheck, GrpcCheck, HttpCheck, HttpProtocol, Kind, TcpCheck},
        outlier,
    },
    config::{raw, resolved::ClusterProtocol},
};

/// What a check needs to know of its cluster.
pub(super) struct Checked<'a> {
    pub name: &'a str,
    pub protocol: ClusterProtocol,
    pub tls: bool,
}

impl Resolver<'_, '_> {
    pub(super) fn health_check(
        &mut self,
        raw: &raw::HealthCheck,
        cluster: &Checked<'_>,
        place: &Place<'_>,
    ) -> Option<Arc<active::Settings>> {
        let kind = self.kind(raw, cluster, place)?;
        let default = active::Settings::new(kind);
        let interval = self.timeout(raw.interval, default.interval, &place.key("interval"));
        let settings = active::Settings {
            interval,
            timeout: self.timeout(raw.timeout, default.timeout, &place.key("timeout")),
            interval_jitter: raw.jitter.map_or(interval / 10, |jitter| jitter.0),
            initial_jitter: interval / 10,
            healthy: raw.healthy.unwrap_or(default.healthy),
            unhealthy: raw.unhealthy.unwrap_or(default.unhealthy),
            no_traffic_interval: self.timeout(
                raw.no_traffic_interval,
                interval.saturating_mul(10).min(default.no_traffic_interval),
                &place.key("no_traffic_interval"),
            ),
            unhealthy_interval: raw
                .unhealthy_interval
                .map(|interval| self.timeout(Some(interval), Duration::ZERO, &place.key("unhealthy_interval"))),
            reuse_connection: raw.reuse_connection.unwrap_or(default.reuse_connection),
            ..default
        };
        match settings.check() {
            Ok(()) => Some(Arc::new(settings)),
            Err(error) => {
                self.diagnostics.error(place.span, &place.path, error.to_string());
                None
            }
        }
    }

    pub(super) fn agent_check(&mut self, raw: &raw::AgentBeside, place: &Place<'_>) -> Arc<active::Settings> {
        let send = Bytes::from(raw.send.clone().unwrap_or_default());
        let default = active::Settings::new(Kind::Agent(AgentCheck { port: raw.port, send }));
        let interval = self.timeout(raw.interval, default.interval, &place.key("interval"));
        Arc::new(active::Settings {
            interval,
            timeout: self.timeout(raw.timeout, default.timeout, &place.key("timeout")),
            interval_jitter: interval / 10,
            initial_jitter: interval / 10,
            // What its operators want holds before the first request, too.
            no_traffic_interval: interval,
            ..default
        })
    }

    fn kind(&mut self, raw: &raw::HealthCheck, cluster: &Checked<'_>, place: &Place<'_>) -> Option<Kind> {
        let mut kinds = Vec::new();
        let scheme = if cluster.tls { Scheme::HTTPS } else { Scheme::HTTP };
        let authority = |text: &str| text.parse::<Authority>();
        let named = authority(cluster.name).unwrap_or_else(|_| Authority::from_static("fyke"));
        if let Some(http) = &raw.http {
            kinds.push(
                self.http_check(http, (cluster, named.clone(), scheme.clone()), &place.key("http")).map(Kind::Http),
            );
        }
        if let Some(service) = &raw.grpc {
            kinds.push(Some(Kind::Grpc(GrpcCheck { service: service.clone(), authority: named, scheme })));
        }
        if let Some(tcp) = &raw.tcp {
            let send = Bytes::from(tcp.send.clone().unwrap_or_default());
            let receive = tcp.receive.iter().map(|text| Bytes::from(text.clone())).collect();
            kinds.push(Some(Kind::Tcp(TcpCheck { send, receive })));
        }
        if let Some(redis) = &raw.redis {
            kinds.push(Some(Kind::Redis { key: redis.key.clone().map(Bytes::from) }));
        }
        if raw.mongo.is_some() {
            kinds.push(Some(Kind::Mongo));
        }
        if let Some(agent) = &raw.agent {
            let send = Bytes::from(agent.send.clone().unwrap_or_default());
            kinds.push(Some(Kind::Agent(AgentCheck { port: agent.port, send })));
        }
        if kinds.len() != 1 {
            let message = "a health check has exactly one of http, grpc, tcp, redis, mongo and agent";
            self.diagnostics.error_with_help(
                place.span,
                &place.path,
                message,
                "such as `health_check: { http: /healthz }`",
            );
        }
        kinds.pop()?
    }

    fn http_check(
        &mut self,
        raw: &raw::HttpCheckForm,
        (cluster, named, scheme): (&Checked<'_>, Authority, Scheme),
        place: &Place<'_>,
    ) -> Option<HttpCheck> {
        let (full, at) = match raw {
            raw::HttpCheckForm::Path(path) => (&raw::HttpCheck::of(path), None),
            raw::HttpCheckForm::Full(full) => (full, Some(place.key("path"))),
        };
        let at = at.as_ref().unwrap_or(place);
        let path = full.path.parse::<PathAndQuery>().ok().filter(|_| full.path.starts_with('/'));
        let Some(path) = path else {
            self.diagnostics.error(at.span, &at.path, "this is no path of an HTTP request; it begins with \"/\"");
            return None;
        };
        let mut check = HttpCheck::new(path, named);
        check.scheme = scheme;
        check.protocol = match cluster.protocol {
            ClusterProtocol::Http2 => HttpProtocol::Http2,
            ClusterProtocol::Http1 | ClusterProtocol::Auto | ClusterProtocol::Tcp => HttpProtocol::Http1,
        };
        if let Some(host) = &full.host {
            check.host = self.parsed(host, "host", &place.key("host"))?;
        }
        if let Some(method) = &full.method {
            check.method = self.parsed::<Method>(method, "method", &place.key("method"))?;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &full.headers {
            let place = place.key("headers").key(name);
            let name: HeaderName = self.parsed(name, "name of a header", &place)?;
            let value: HeaderValue = self.parsed(value, "value of a header", &place)?;
            headers.append(name, value);
        }
        check.headers = headers;
        if !full.statuses.is_empty() {
            check.expected = self.statuses(&full.statuses, &place.key("statuses"))?;
        }
        check.retriable = self.statuses(&full.retriable, &place.key("retriable"))?;
        Some(check)
    }

    fn parsed<T: std::str::FromStr>(&mut self, text: &str, what: &str, place: &Place<'_>) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.diagnostics.error(place.span, &place.path, format!("this is no {what}"));
        }
        parsed
    }

    fn statuses(&mut self, raw: &[raw::Status], place: &Place<'_>) -> Option<Vec<RangeInclusive<u16>>> {
        let one = |(index, status): (usize, &raw::Status)| match status {
            raw::Status::One(status) => Some(*status..=*status),
            raw::Status::Range(text) => {
                let range = text
                    .split_once('-')
                    .and_then(|(first, last)| Some(first.trim().parse().ok()?..=last.trim().parse().ok()?));
                if range.is_none() {
                    let place = place.index(index);
                    self.diagnostics.error(place.span, &place.path, "this is no range of statuses such as \"200-299\"");
                }
                range
            }
        };
        raw.iter().enumerate().map(one).collect()
    }

    pub(super) fn outlier_detection(&mut self, raw: &raw::OutlierDetection, place: &Place<'_>) -> outlier::Settings {
        let default = outlier::Settings::default();
        let base = self.timeout(raw.ejection, default.base_ejection_time, &place.key("ejection"));
        let longest = outlier::Settings::default_max_ejection_time(base);
        let mut settings = outlier::Settings {
            consecutive_5xx: raw.consecutive_5xx.unwrap_or(default.consecutive_5xx),
            consecutive_gateway_failure: raw.consecutive_gateway_failure.unwrap_or(0),
            consecutive_local_origin_failure: raw
                .consecutive_local_origin_failure
                .unwrap_or(default.consecutive_local_origin_failure),
            split_external_local_origin_errors: raw.consecutive_local_origin_failure.is_some(),
            interval: self.timeout(raw.interval, default.interval, &place.key("interval")),
            base_ejection_time: base,
            max_ejection_time: self.timeout(raw.max_ejection, longest, &place.key("max_ejection")),
            max_ejection_time_jitter: raw.jitter.map_or(Duration::ZERO, |jitter| jitter.0),
            max_ejection_percent: raw.max_ejected.map_or(default.max_ejection_percent, whole),
            always_eject_one_host: true,
            ..default
        };
        // What is set is enforced.
        settings.enforcing.consecutive_gateway_failure = 100;
        if let Some(rate) = &raw.success_rate {
            let on = rate.enabled != Some(false);
            settings.enforcing.success_rate = if on { 100 } else { 0 };
            settings.enforcing.local_origin_success_rate = if on { 100 } else { 0 };
            let default = &mut settings.success_rate;
            default.minimum_hosts = rate.minimum_endpoints.unwrap_or(default.minimum_hosts);
            default.request_volume = rate.requests.unwrap_or(default.request_volume);
            default.stdev_factor = rate.deviations.map_or(default.stdev_factor, thousandths);
        }
        if let Some(failures) = &raw.failure_percentage {
            settings.enforcing.failure_percentage = 100;
            settings.enforcing.local_origin_failure_percentage = 100;
            let default = &mut settings.failure_percentage;
            default.threshold = failures.threshold.map_or(default.threshold, whole);
            default.minimum_hosts = failures.minimum_endpoints.unwrap_or(default.minimum_hosts);
            default.request_volume = failures.requests.unwrap_or(default.request_volume);
        }
        if let Err(error) = settings.check() {
            self.diagnostics.error(place.span, &place.path, error.to_string());
        }
        settings
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
fn thousandths(number: f64) -> u32 {
    (number * 1000.0).round() as u32
}
