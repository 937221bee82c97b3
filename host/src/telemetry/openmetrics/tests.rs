use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::telemetry::reading::{Attributes, UnixTime};

fn reading(name: &str, labels: &[(&'static str, &str)], value: MetricValue) -> MetricReading {
    MetricReading {
        name: name.to_owned().into(),
        help: "".into(),
        unit: "".into(),
        labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).to_owned().into())).collect(),
        value,
        start: UnixTime(1),
        time: UnixTime(2),
        exemplars: Vec::new(),
    }
}

fn counter(name: &str, labels: &[(&'static str, &str)], number: impl Into<Number>) -> MetricReading {
    reading(name, labels, MetricValue::Counter(number.into()))
}

fn gauge(name: &str, labels: &[(&'static str, &str)], number: impl Into<Number>) -> MetricReading {
    reading(name, labels, MetricValue::Gauge(number.into()))
}

fn histogram(name: &str, bounds: &[f64], counts: &[u64], sum: f64) -> MetricReading {
    reading(name, &[], MetricValue::Histogram(Histogram::new(bounds.into(), counts.to_vec(), sum).unwrap()))
}

fn exemplar(value: f64) -> Exemplar {
    Exemplar { time: UnixTime(1_500_000_000), value: value.into(), labels: Vec::new(), trace: Some(([1; 16], [2; 8])) }
}

const TRACE: &str = "{trace_id=\"01010101010101010101010101010101\",span_id=\"0202020202020202\"}";

#[track_caller]
fn renders(readings: Vec<MetricReading>, lines: &[&str]) {
    let text = render(readings);
    assert_eq!(text.lines().collect::<Vec<_>>(), [lines, &["# EOF"]].concat());
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn nothing_is_an_exposition_too() {
    renders(Vec::new(), &[]);
}

#[test]
fn a_counters_family_has_no_total_and_its_sample_has() {
    let first = MetricReading {
        help: "Bytes \"read\"\\\n.".into(),
        unit: "By".into(),
        exemplars: vec![exemplar(4.0)],
        ..counter("fyke_received_bytes_total", &[("listener", "a\"\\\n")], 3_i64)
    };
    let second = counter("fyke_received_bytes_total", &[("listener", "b")], 0.5);
    renders(
        vec![first, second],
        &[
            "# TYPE fyke_received_bytes counter",
            "# UNIT fyke_received_bytes bytes",
            "# HELP fyke_received_bytes Bytes \\\"read\\\"\\\\\\n.",
            &format!("fyke_received_bytes_total{{listener=\"a\\\"\\\\\\n\"}} 3 # {TRACE} 4.0 1.5"),
            "fyke_received_bytes_total{listener=\"b\"} 0.5",
        ],
    );
}

#[test]
fn a_counter_without_total_keeps_its_name_and_has_no_exemplar() {
    let reading = MetricReading { exemplars: vec![exemplar(1.0)], ..counter("my.requests", &[], 3_i64) };
    renders(vec![reading], &["# TYPE my_requests unknown", "my_requests 3"]);
    renders(vec![counter("_total", &[], 1_i64)], &["# TYPE _total unknown", "_total 1"]);
}

#[test]
fn a_histogram_has_canonical_bounds_and_exemplars_on_its_buckets() {
    let reading = MetricReading {
        unit: "s".into(),
        exemplars: vec![exemplar(0.5), exemplar(7.0)],
        ..histogram("d_seconds", &[0.00001, 1.0, 2.5], &[1, 2, 0, 4], 12.0)
    };
    renders(
        vec![reading],
        &[
            "# TYPE d_seconds histogram",
            "# UNIT d_seconds seconds",
            "d_seconds_bucket{le=\"1e-05\"} 1",
            &format!("d_seconds_bucket{{le=\"1.0\"}} 3 # {TRACE} 0.5 1.5"),
            "d_seconds_bucket{le=\"2.5\"} 3",
            &format!("d_seconds_bucket{{le=\"+Inf\"}} 7 # {TRACE} 7.0 1.5"),
            "d_seconds_sum 12.0",
            "d_seconds_count 7",
        ],
    );
}

#[test]
fn a_sum_that_can_fall_is_left_out_with_its_count() {
    let lines = ["# TYPE h histogram", "h_bucket{le=\"-1.0\"} 1", "h_bucket{le=\"+Inf\"} 1"];
    renders(vec![histogram("h", &[-1.0], &[1, 0], 5.0)], &lines);
    for sum in [-3.0, f64::NAN] {
        let lines = ["# TYPE h histogram", "h_bucket{le=\"1.0\"} 1", "h_bucket{le=\"+Inf\"} 1"];
        renders(vec![histogram("h", &[1.0], &[1, 0], sum)], &lines);
    }
}

#[test]
fn gauges_may_have_any_number_and_counters_may_not() {
    renders(
        vec![
            gauge("a", &[], -4_i64),
            gauge("b", &[], f64::NAN),
            gauge("c", &[], f64::NEG_INFINITY),
            counter("d_total", &[("x", "1")], -1_i64),
            counter("d_total", &[("x", "2")], f64::NAN),
        ],
        &["# TYPE a gauge", "a -4", "# TYPE b gauge", "b NaN", "# TYPE c gauge", "c -Inf", "# TYPE d counter"][..],
    );
}

#[test]
fn a_unit_is_told_only_where_the_name_ends_with_it() {
    let of =
        |name: &str, unit: &'static str| render(vec![MetricReading { unit: unit.into(), ..gauge(name, &[], 1_i64) }]);
    assert!(of("a_seconds", "s").contains("# UNIT a_seconds seconds\n"));
    for (name, unit) in [("a", "s"), ("seconds", "s"), ("a_seconds", ""), ("a_bytes", "{x}"), ("a_seconds", "By")] {
        assert!(!of(name, unit).contains("UNIT"), "{name}");
    }
}

#[test]
fn series_of_one_family_are_together_and_the_same_series_is_there_once() {
    renders(
        vec![
            gauge("a", &[("l", "1")], 1_i64),
            gauge("b", &[], 2_i64),
            gauge("a", &[("l", "2")], 3_i64),
            gauge("b", &[], 4_i64),
        ],
        &["# TYPE a gauge", "a{l=\"1\"} 1", "a{l=\"2\"} 3", "# TYPE b gauge", "b 2"],
    );
}

#[test]
fn names_that_become_one_are_told_apart() {
    renders(
        vec![
            counter("my.requests_total", &[], 1_i64),
            counter("my-requests_total", &[], 2_i64),
            gauge("my_requests_total", &[], 3_i64),
            counter("my_requests_total", &[("name", "x")], 4_i64),
        ],
        &[
            "# TYPE my_requests counter",
            "my_requests_total{name=\"my.requests_total\"} 1",
            "my_requests_total{name=\"my-requests_total\"} 2",
            "# TYPE my_requests_total_gauge gauge",
            "my_requests_total_gauge 3",
            "# TYPE my_requests_total_labelled unknown",
            "my_requests_total_labelled{name=\"x\"} 4",
        ],
    );
}

#[test]
fn a_sample_of_a_histogram_is_a_name_that_is_taken() {
    let families = [histogram("h", &[], &[1], 1.0), counter("c_total", &[], 1_i64)];
    let gauges = ["h_count", "h", "h_created", "c", "c_created"].map(|name| gauge(name, &[], 1_i64));
    let text = render(families.into_iter().chain(gauges).collect());
    for name in ["h_count_gauge", "h_gauge", "h_created_gauge", "c_gauge", "c_created_gauge"] {
        assert!(text.contains(&format!("\n{name} 1\n")), "{name} is not in {text}");
    }
}

#[test]
fn names_of_labels_are_legal_and_unique() {
    let mut odd = histogram("h", &[], &[1], 1.0);
    odd.labels = ["le", "a.b", "a-b", "__x", "1", "._y", "__2", "a:b"].map(|name| (name.into(), "v".into())).into();
    let text = render(vec![odd]);
    assert!(
        text.contains(
            "h_count{exported_le=\"v\",a_b=\"v\",a_bx=\"v\",x=\"v\",_1=\"v\",y=\"v\",_2=\"v\",a_bxx=\"v\"} 1\n"
        ),
        "{text}"
    );
}

proptest! {
    #[test]
    fn every_family_is_declared_once_and_every_sample_belongs_to_the_one_above_it(
        readings in prop::collection::vec(
            (
                prop_oneof!["[ab](\\.|_)?(total|count|sum|bucket|created)?(_total)?", any::<String>()],
                0_u8..3,
                prop::collection::vec(("[a-b_]{0,3}|le|name", any::<String>()), 0..3),
                any::<f64>(),
            ),
            0..30,
        ),
    ) {
        let readings = readings.into_iter().map(|(name, kind, labels, number)| {
            let value = match kind {
                0 => MetricValue::Counter(number.into()),
                1 => MetricValue::Gauge(number.into()),
                _ => MetricValue::Histogram(Histogram::new([1.0].as_slice().into(), vec![1, 2], number).unwrap()),
            };
            let labels: Attributes = labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            MetricReading { labels, exemplars: vec![exemplar(number)], ..reading(&name, &[], value) }
        });
        let text = render(readings.collect());
        let (mut names, mut samples) = (HashSet::new(), HashSet::new());
        let (mut family, mut kind) = (String::new(), String::new());
        // `lines` would part at carriage returns, which labels may have.
        for line in text.strip_suffix("# EOF\n").unwrap().split_terminator('\n') {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, word) = rest.split_once(' ').unwrap();
                (family, kind) = (name.to_owned(), word.to_owned());
                prop_assert!(names.insert(family.clone()), "{family} twice");
                prop_assert!(!samples.contains(&family), "{family} is a sample's name");
                continue;
            }
            let end = line.find(['{', ' ']).unwrap();
            let legal = |(at, byte): (usize, u8)| byte.is_ascii_alphabetic() || b"_:".contains(&byte) || (at > 0 && byte.is_ascii_digit());
            prop_assert!(end > 0 && line[..end].bytes().enumerate().all(legal));
            let suffix = line[..end].strip_prefix(family.as_str());
            let known: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            prop_assert!(suffix.is_some_and(|suffix| known.contains(&suffix)), "{line} in {family}");
            prop_assert!(line[..end] == family || !names.contains(&line[..end]), "{line} is a family's name");
            samples.insert(line[..end].to_owned());
        }
    }
}
