use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::telemetry::{labelled::Definition, names, openmetrics, prometheus};

const TIMES: (UnixTime, UnixTime) = (UnixTime(1_000_000_000), UnixTime(2_000_000_000));

/// Something of every kind.
fn registry() -> Registry {
    let registry = Registry::new();
    registry.counter(&names::LISTENER_CONNECTIONS, &[("listener", "a\"\\\n")]).add(3);
    registry.counter(&names::LISTENER_RECEIVED, &[("listener", "b")]).add(4);
    registry.counter(&names::WORKER_CPU, &[("worker", "0")]).add_time(Duration::from_millis(1_500));
    // Handles of gauges take their numbers with them.
    std::mem::forget(registry.gauge(&names::PROCESS_GENERATION, &[]));
    let histogram = registry.histogram(&names::CLUSTER_REQUEST_DURATION, &[("cluster", "app")]);
    for micros in [5, 10, 11, 300, 20_000, 20_001, 500_000_000] {
        histogram.observe(Duration::from_micros(micros));
    }
    let filters = registry.filter_metrics();
    for (kind, name) in [
        (FilterMetricKind::Counter, "my.requests"),
        (FilterMetricKind::Counter, "my_requests"),
        (FilterMetricKind::Gauge, "my-requests"),
        (FilterMetricKind::Counter, "fyke.listener"),
        (FilterMetricKind::Counter, "calls_total"),
        (FilterMetricKind::Histogram, "sizes"),
    ] {
        filters.record(filters.define("f", 10, kind, name), 7).unwrap();
    }
    for (json, values) in [
        (r#"{"kind":"counter","name":"tagged_total","labels":["a"]}"#, "x"),
        (r#"{"kind":"counter","name":"calls_total","labels":["a"]}"#, "y"),
        (r#"{"kind":"histogram","name":"widths","labels":["a"],"buckets":[1,5,10]}"#, "z"),
    ] {
        let definition: Definition = serde_json::from_str(json).unwrap();
        let family = registry.labelled().define("f", 10, definition).unwrap();
        family.record(6, &[&[1, 0, 0, 0], values.as_bytes()].concat()).unwrap();
    }
    registry
}

/// Samples by name and labels, bounds read as numbers.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (series, value) = line.split(" # ").next().unwrap().rsplit_once(' ').unwrap();
        let series = match series.split_once("le=\"") {
            Some((head, bound)) => {
                let (bound, tail) = bound.split_once('"').unwrap();
                format!("{head}le=\"{}\"{tail}", bound.parse::<f64>().unwrap())
            }
            None => series.to_owned(),
        };
        (series, value.parse().unwrap())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

#[test]
fn both_formats_show_the_same_series() {
    let registry = registry();
    let text = samples(&prometheus::render(&registry, Vec::new()));
    let metrics = samples(&openmetrics::render(gather(&registry, Vec::new(), Detail::Exposed, TIMES)));
    assert_eq!(text, metrics);
    assert!(text.len() > 50, "{text:?}");
    for series in ["calls_total_labelled{a=\"y\"}", "my_requests{name=\"my.requests\"}", "filter_fyke_listener"] {
        assert!(text.contains_key(series), "{series} is not in {text:?}");
    }
}

#[test]
fn every_metric_of_the_proxy_has_the_unit_of_its_name() {
    for metric in names::ALL {
        let ends = [("_seconds", "s"), ("_bytes", "By")].into_iter().find(|(part, _)| metric.name.contains(part));
        let expected = ends.map_or("", |(_, unit)| unit);
        assert_eq!(unit(metric.name), expected, "{}", metric.name);
    }
}

#[test]
fn fine_buckets_hold_the_same_observations() {
    let registry = registry();
    let read = |detail| {
        let all = gather(&registry, Vec::new(), detail, TIMES);
        let found = all.into_iter().find(|reading| reading.name == names::CLUSTER_REQUEST_DURATION.name).unwrap();
        match found.value {
            MetricValue::Histogram(histogram) => histogram,
            other => panic!("{other:?}"),
        }
    };
    let (fine, exposed) = (read(Detail::Fine), read(Detail::Exposed));
    assert_eq!((fine.bounds().len(), exposed.bounds().len()), (71, 22));
    assert_eq!((fine.counts().iter().sum::<u64>(), exposed.counts().iter().sum::<u64>()), (7, 7));
    assert_eq!((fine.sum(), fine.counts()[0], fine.counts()[71]), (exposed.sum(), 2, 1));
}

#[test]
fn a_traced_observation_is_shown_where_it_was_counted_and_outlives_its_handle() {
    let registry = Registry::new();
    let labels = &[("cluster", "app")];
    let histogram = registry.histogram(&names::CLUSTER_REQUEST_DURATION, labels);
    let other = registry.histogram(&names::CLUSTER_REQUEST_DURATION, labels);
    let traced = |handle: &crate::telemetry::Histogram, millis, id: u8, time| {
        handle.observe(Duration::from_millis(millis));
        handle.exemplify(Duration::from_millis(millis), ([id; 16], [id; 8]), UnixTime(time));
    };
    traced(&histogram, 30, 1, 3_000_000_000);
    traced(&other, 31, 2, 4_000_000_000);
    traced(&histogram, 32, 3, 2_000_000_000);
    traced(&histogram, 1_000_000, 4, 1_500_000_000);
    let lines = |registry: &Registry| -> Vec<String> {
        let text = openmetrics::render(gather(registry, Vec::new(), Detail::Exposed, TIMES));
        text.lines().filter(|line| line.contains(" # {")).map(str::to_owned).collect()
    };
    let expected = |bound: &str, count: u8, id: u8, value: &str, time: &str| {
        let (trace, span) = (format!("{id:02x}").repeat(16), format!("{id:02x}").repeat(8));
        format!(
            "fyke_cluster_request_duration_seconds_bucket{{cluster=\"app\",le=\"{bound}\"}} {count} # \
             {{trace_id=\"{trace}\",span_id=\"{span}\"}} {value} {time}"
        )
    };
    let both = [expected("0.05", 3, 2, "0.031", "4.0"), expected("+Inf", 4, 4, "1000.0", "1.5")];
    assert_eq!(lines(&registry), both);
    drop((histogram, other));
    assert_eq!(lines(&registry), both);
}
