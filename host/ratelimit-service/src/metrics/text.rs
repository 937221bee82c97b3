//! Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;

use super::{Histogram, Metrics, Registry};

/// Text that is being written. Families are written one after the other, each with its samples.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// The samples of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let read = histogram.read();
        let bucket = format!("{name}_bucket");
        for (bound, count) in &read.buckets {
            let bound = bound.to_string();
            self.sample(&bucket, &[labels, &[("le", bound.as_str())]].concat(), count);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), read.count);
        self.sample(&format!("{name}_sum"), labels, read.sum);
        self.sample(&format!("{name}_count"), labels, read.count);
    }

    pub fn finish(self) -> String {
        self.0
    }
}

/// What rules have done, and the service.
pub(crate) fn render(metrics: &Metrics, registry: &Registry, text: &mut Text) {
    let series = registry.read();
    let helps = [
        ("total_hits", "Hits of a rule."),
        ("over_limit", "Hits beyond the limit."),
        ("near_limit", "Hits within the limit, but near it."),
        ("within_limit", "Hits that were within the limit."),
        ("shadow_mode", "Hits beyond the limit that a rule in shadow mode let pass."),
        ("over_limit_with_local_cache", "Hits beyond the limit that Redis was not asked about."),
    ];
    let mut numbers = [const { String::new() }; 8];
    for (at, number) in numbers.iter_mut().enumerate() {
        *number = format!("key{}", at + 1);
    }
    for (at, (stat, help)) in helps.into_iter().enumerate() {
        let name = format!("ratelimit_service_rate_limit_{stat}");
        text.family(&name, "counter", help);
        for ((domain, keys), stats) in &series {
            let deep: Vec<String>;
            let names: &[String] = if keys.len() <= numbers.len() {
                &numbers
            } else {
                deep = (1..=keys.len()).map(|number| format!("key{number}")).collect();
                &deep
            };
            let mut labels = vec![("domain", domain.as_str())];
            labels.extend(names.iter().zip(keys).map(|(name, key)| (name.as_str(), key.as_str())));
            text.sample(&name, &labels, stats.read().get(at).map_or(0, |(_, value)| *value));
        }
    }
    let method = [("grpc_method", "ShouldRateLimit")];
    let name = "ratelimit_service_total_requests";
    text.family(name, "counter", "Requests, by gRPC and JSON.");
    text.sample(name, &method, metrics.requests.get());
    let name = "ratelimit_service_response_time_seconds";
    text.family(name, "histogram", "How long requests took to be decided.");
    text.histogram(name, &method, &metrics.seconds);
    let name = "ratelimit_service_should_rate_limit_error";
    text.family(name, "counter", "Requests that got no decision.");
    text.sample(name, &[("err_type", "redis_error")], metrics.store_errors.get());
    text.sample(name, &[("err_type", "service_error")], metrics.service_errors.get());
    let help = "Requests over their limit that the service's shadow mode let pass.";
    text.counter("ratelimit_service_global_shadow_mode", help, metrics.global_shadow_mode.get());
    let help = "Times that the rules were read.";
    text.counter("ratelimit_service_config_load_success", help, metrics.config_load_success.get());
    let help = "Times that the rules had mistakes, and those before were kept.";
    text.counter("ratelimit_service_config_load_error", help, metrics.config_load_error.get());
    let help = "Hits counted for the rule alone, because there were too many series with values.";
    text.counter("fyke_ratelimit_series_dropped", help, registry.dropped());
    let open = metrics.connections.get().saturating_sub(metrics.connections_closed.get());
    text.gauge("fyke_ratelimit_connections", "Connections of clients that are open.", open);
    let help = "Connections closed because there were too many.";
    text.counter("fyke_ratelimit_connections_refused", help, metrics.connections_refused.get());
}
