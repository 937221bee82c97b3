//! The text exposition format, version 0.0.4.
//!
//! Names of the proxy's own metrics are legal by construction. Those of filters are whatever a guest wrote: illegal
//! characters become underscores, and where two names become one, a label `name` tells the originals apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    filter_metrics::{FilterMetricKind, FilterMetricReading, OF_FILTERS},
    histogram::HistogramReading,
    labelled::{self, Shown},
    registry::{FamilyReading, Reading, Registry},
};

/// The `Content-Type` of what [`render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that the registry holds, now, and what was read elsewhere.
#[must_use]
pub fn render(registry: &Registry, more: Vec<FamilyReading>) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let mut families = registry.gather();
    families.extend(more);
    for family in families {
        render_family(&mut out, &family);
    }
    let mut taken = render_filter_metrics(&mut out, registry.filter_metrics().gather());
    for family in registry.labelled().gather() {
        render_labelled(&mut out, &family, &mut taken);
    }
    out
}

fn render_family(out: &mut String, family: &FamilyReading) {
    let metric = family.metric;
    describe(out, metric.name, metric.help, metric.kind.word());
    for (values, reading) in &family.series {
        let mut labels = String::new();
        for (name, value) in metric.labels.iter().zip(values) {
            push_label(&mut labels, name, value);
        }
        render_series(out, metric.name, &labels, reading);
    }
}

/// Returns the names that it used.
fn render_filter_metrics(out: &mut String, metrics: Vec<FilterMetricReading>) -> BTreeSet<String> {
    let mut families: BTreeMap<String, (FilterMetricKind, Vec<FilterMetricReading>)> = BTreeMap::new();
    for metric in metrics {
        let mut name = sanitise(&metric.name);
        if families.get(&name).is_some_and(|(kind, _)| *kind != metric.kind) {
            name = format!("{name}_{}", metric.kind.word());
        }
        let (_, family) = families.entry(name).or_insert_with(|| (metric.kind, Vec::new()));
        family.push(metric);
    }
    let names = families.iter().flat_map(|(name, (kind, _))| samples(name, *kind)).collect();
    for (name, (kind, family)) in families {
        describe(out, &name, OF_FILTERS, kind.word());
        let ambiguous = family.len() > 1;
        for metric in family.iter().filter(|metric| metric.kind == kind) {
            let mut labels = String::new();
            if ambiguous {
                push_label(&mut labels, "name", &metric.name);
            }
            render_series(out, &name, &labels, &metric.reading);
        }
    }
    names
}

/// What a family and its samples are called: its name, and those of a histogram's parts.
fn samples(name: &str, kind: FilterMetricKind) -> impl Iterator<Item = String> {
    let suffixes: &[&str] = match kind {
        FilterMetricKind::Histogram => &["", "_bucket", "_sum", "_count"],
        FilterMetricKind::Counter | FilterMetricKind::Gauge => &[""],
    };
    suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
}

fn render_labelled(out: &mut String, family: &labelled::FamilyReading, taken: &mut BTreeSet<String>) {
    let mut name = family.name.clone();
    while samples(&name, family.kind).any(|sample| taken.contains(&sample)) {
        name.push_str("_labelled");
    }
    taken.extend(samples(&name, family.kind));
    describe(out, &name, OF_FILTERS, family.kind.word());
    for (values, shown) in &family.series {
        let mut labels = String::new();
        for (label, value) in family.labels.iter().zip(values) {
            push_label(&mut labels, label, value);
        }
        match shown {
            Shown::Number(value) => sample(out, &name, "", &labels, value),
            Shown::Histogram { buckets, sum, count } => {
                let bounds = buckets.iter().map(|(bound, count)| (bound.to_string(), *count));
                render_buckets(out, &name, &labels, bounds, (sum, *count));
            }
        }
    }
}

fn describe(out: &mut String, name: &str, help: &str, word: &str) {
    // Writing to a string cannot fail.
    let _ = write!(out, "# HELP {name} ");
    escape(out, help, Place::Help);
    let _ = writeln!(out, "\n# TYPE {name} {word}");
}

fn render_series(out: &mut String, name: &str, labels: &str, reading: &Reading) {
    match reading {
        Reading::Counter(value) => sample(out, name, "", labels, value),
        #[expect(clippy::cast_precision_loss, reason = "an exposition is a float")]
        Reading::Time(nanoseconds) => sample(out, name, "", labels, *nanoseconds as f64 / 1e9),
        Reading::Gauge(value) => sample(out, name, "", labels, value),
        Reading::Histogram(histogram) => render_histogram(out, name, labels, histogram),
    }
}

fn render_histogram(out: &mut String, name: &str, labels: &str, histogram: &HistogramReading) {
    let bounds = histogram.cumulative().map(|(bound, count)| (bound.to_string(), count));
    render_buckets(out, name, labels, bounds, (histogram.sum(), histogram.count()));
}

fn render_buckets(
    out: &mut String,
    name: &str,
    labels: &str,
    bounds: impl Iterator<Item = (String, u64)>,
    (sum, count): (impl std::fmt::Display, u64),
) {
    for (bound, count) in bounds.chain([("+Inf".to_owned(), count)]) {
        let mut with_bound = labels.to_owned();
        push_label(&mut with_bound, "le", &bound);
        sample(out, name, "_bucket", &with_bound, count);
    }
    sample(out, name, "_sum", labels, sum);
    sample(out, name, "_count", labels, count);
}

fn sample(out: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = if labels.is_empty() {
        writeln!(out, "{name}{suffix} {value}")
    } else {
        writeln!(out, "{name}{suffix}{{{labels}}} {value}")
    };
}

fn push_label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    escape(labels, value, Place::Label);
    labels.push('"');
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Help,
    Label,
}

fn escape(out: &mut String, text: &str, place: Place) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if place == Place::Label => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

/// A legal name for what a guest wrote. `fyke_` is the proxy's own prefix, so a guest's gets `filter_` in front.
fn sanitise(name: &str) -> String {
    let mut legal = String::with_capacity(name.len());
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        legal.push('_');
    }
    legal.extend(name.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | ':' => character,
        _ => '_',
    }));
    if legal.starts_with("fyke_") { format!("filter_{legal}") } else { legal }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::names;

    #[test]
    fn an_exposition_has_help_and_type_once_and_every_series() {
        let registry = Registry::new();
        registry.counter(&names::LISTENER_CONNECTIONS, &[("listener", "a")]).add(3);
        registry.counter(&names::LISTENER_CONNECTIONS, &[("listener", "b\"\\\n")]).inc();
        let gauge = registry.gauge(&names::PROCESS_GENERATION, &[]);
        gauge.set(-4);
        registry.counter(&names::WORKER_CPU, &[("worker", "0")]).add_time(Duration::from_millis(1_500));
        let text = render(&registry, Vec::new());
        let expected = [
            "# HELP fyke_listener_connections_accepted_total Downstream connections accepted.",
            "# TYPE fyke_listener_connections_accepted_total counter",
            "fyke_listener_connections_accepted_total{listener=\"a\"} 3",
            "fyke_listener_connections_accepted_total{listener=\"b\\\"\\\\\\n\"} 1",
            "# HELP fyke_process_generation The generation that new streams begin on.",
            "# TYPE fyke_process_generation gauge",
            "fyke_process_generation -4",
            "# HELP fyke_worker_cpu_seconds_total Processor time of the worker's thread.",
            "# TYPE fyke_worker_cpu_seconds_total counter",
            "fyke_worker_cpu_seconds_total{worker=\"0\"} 1.5",
        ];
        assert_eq!(text.lines().take(expected.len()).collect::<Vec<_>>(), expected);
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn a_histogram_has_rising_buckets_a_sum_and_a_count() {
        let registry = Registry::new();
        let histogram = registry.histogram(&names::CLUSTER_REQUEST_DURATION, &[("cluster", "app")]);
        histogram.observe(Duration::from_millis(3));
        histogram.observe(Duration::from_secs(1_000));
        let text = render(&registry, Vec::new());
        for line in [
            "fyke_cluster_request_duration_seconds_bucket{cluster=\"app\",le=\"0.0025\"} 0",
            "fyke_cluster_request_duration_seconds_bucket{cluster=\"app\",le=\"0.005\"} 1",
            "fyke_cluster_request_duration_seconds_bucket{cluster=\"app\",le=\"100\"} 1",
            "fyke_cluster_request_duration_seconds_bucket{cluster=\"app\",le=\"+Inf\"} 2",
            "fyke_cluster_request_duration_seconds_sum{cluster=\"app\"} 1000.003",
            "fyke_cluster_request_duration_seconds_count{cluster=\"app\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn names_of_filters_become_legal_and_stay_apart() {
        let registry = Registry::new();
        let metrics = registry.filter_metrics();
        for (kind, name) in [
            (FilterMetricKind::Counter, "my.requests"),
            (FilterMetricKind::Counter, "my_requests"),
            (FilterMetricKind::Gauge, "my-requests"),
            (FilterMetricKind::Counter, "fyke.listener"),
        ] {
            let id = metrics.define("f", 10, kind, name);
            metrics.record(id, 1).unwrap();
        }
        let text = render(&registry, Vec::new());
        for line in [
            "my_requests{name=\"my.requests\"} 1",
            "my_requests{name=\"my_requests\"} 1",
            "my_requests_gauge 1",
            "filter_fyke_listener 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("# TYPE my_requests counter").count(), 1);
    }

    proptest! {
        #[test]
        fn any_label_value_reads_back(value in any::<String>()) {
            let mut escaped = String::new();
            escape(&mut escaped, &value, Place::Label);
            prop_assert!(!escaped.contains('\n'));
            let (mut read, mut characters) = (String::new(), escaped.chars());
            while let Some(character) = characters.next() {
                prop_assert_ne!(character, '"');
                read.push(match character {
                    '\\' => match characters.next() {
                        Some('n') => '\n',
                        Some(other) => other,
                        None => return Err(TestCaseError::fail("a lone backslash")),
                    },
                    other => other,
                });
            }
            prop_assert_eq!(read, value);
        }

        #[test]
        fn any_name_becomes_legal(name in any::<String>()) {
            let legal = sanitise(&name);
            let legal_first = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':');
            prop_assert!(legal.as_bytes().first().is_some_and(legal_first));
            prop_assert!(legal.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')));
        }
    }
}
