use super::*;
use crate::telemetry::statsd::testing::{counter, gauge, reading};

struct Sink {
    lines: Lines,
}

impl Sink {
    fn new(change: impl FnOnce(&mut Settings), dialect: Dialect) -> Self {
        let target = "127.0.0.1:8125".parse().unwrap();
        let mut settings = if dialect == Dialect::Dog { Settings::dog(target) } else { Settings::new(target) };
        change(&mut settings);
        settings.check().unwrap();
        Self { lines: Lines::new(&settings) }
    }

    fn flush(&mut self, readings: &[MetricReading]) -> Vec<String> {
        let mut units = Vec::new();
        self.lines.begin();
        for reading in readings {
            self.lines.read(reading, &mut units).unwrap();
        }
        self.lines.finish(&mut units);
        units
    }
}

fn plain() -> Sink {
    Sink::new(|_| {}, Dialect::Plain)
}

fn dog() -> Sink {
    Sink::new(|_| {}, Dialect::Dog)
}

fn labelled(mut reading: MetricReading) -> MetricReading {
    reading.labels = vec![("zone".into(), "eu-1a".into()), ("cluster".into(), "users".into())];
    reading
}

fn histogram(counts: [u64; 4], sum: f64) -> MetricReading {
    let value = Histogram::new([0.1, 0.2, 0.4].as_slice().into(), counts.to_vec(), sum).unwrap();
    MetricReading { unit: "s".into(), ..labelled(reading("fyke_d_seconds", MetricValue::Histogram(value))) }
}

#[test]
fn counters_are_told_as_what_is_new_and_not_at_all_where_nothing_is() {
    let (mut plain, mut dog) = (plain(), dog());
    let (first, second) = (labelled(counter("fyke_a_total", 3_i64)), labelled(counter("fyke_a_total", 5_i64)));
    assert_eq!(plain.flush(std::slice::from_ref(&first)), ["fyke.a_total.cluster.users.zone.eu-1a:3|c"]);
    assert_eq!(plain.flush(std::slice::from_ref(&second)), ["fyke.a_total.cluster.users.zone.eu-1a:2|c"]);
    assert!(plain.flush(std::slice::from_ref(&second)).is_empty());
    assert_eq!(dog.flush(&[first]), ["fyke.a_total:3|c|#cluster:users,zone:eu-1a"]);
    assert_eq!(
        dog.flush(&[counter("fyke_b_total", 0.25), second]),
        ["fyke.b_total:0.25|c", "fyke.a_total:2|c|#cluster:users,zone:eu-1a"]
    );
}

#[test]
fn a_gauge_below_zero_is_zero_first_in_plain_statsd_only() {
    let readings = [gauge("fyke_a", 7_i64), gauge("fyke_b", -4_i64), gauge("fyke_c", -0.0)];
    assert_eq!(plain().flush(&readings), ["fyke.a:7|g", "fyke.b:0|g\nfyke.b:-4|g", "fyke.c:0|g"]);
    assert_eq!(dog().flush(&readings), ["fyke.a:7|g", "fyke.b:-4|g", "fyke.c:0|g"]);
}

#[test]
fn gauges_are_told_at_every_flush_and_their_end_in_plain_statsd() {
    let (mut plain, mut dog) = (plain(), dog());
    for sink in [&mut plain, &mut dog] {
        for _ in 0..2 {
            assert_eq!(sink.flush(&[gauge("fyke_a", 7_i64)]), ["fyke.a:7|g"]);
        }
    }
    assert_eq!(plain.flush(&[]), ["fyke.a:0|g"]);
    assert!(plain.flush(&[]).is_empty());
    assert!(dog.flush(&[]).is_empty());
}

#[test]
fn a_histogram_is_a_count_a_sum_and_quantiles_of_what_is_new() {
    let mut sink = plain();
    sink.flush(&[histogram([0, 0, 5, 0], 1.5)]);
    let head = "fyke.d_seconds.cluster.users.zone.eu-1a";
    assert_eq!(
        sink.flush(&[histogram([10, 0, 5, 0], 2.25)]),
        [
            format!("{head}.count:10|c"),
            format!("{head}.sum:0.75|c"),
            format!("{head}.p50:0.05|g"),
            format!("{head}.p90:0.09|g"),
            format!("{head}.p95:0.095|g"),
            format!("{head}.p99:0.099|g"),
        ]
    );
    assert!(sink.flush(&[histogram([10, 0, 5, 0], 2.25)]).is_empty());
}

#[test]
fn a_quantile_below_zero_is_zero_first() {
    let value = Histogram::new([-5.0, -1.0].as_slice().into(), vec![1, 0, 0], -6.0).unwrap();
    let units = plain().flush(&[reading("x", MetricValue::Histogram(value))]);
    assert_eq!(
        units[..3],
        ["fyke.filter.x.count:1|c", "fyke.filter.x.sum:-6|c", "fyke.filter.x.p50:0|g\nfyke.filter.x.p50:-5|g"]
    );
}

#[test]
fn a_distribution_has_a_value_per_bucket_and_a_rate_for_how_many() {
    assert_eq!(
        dog().flush(&[histogram([1, 0, 4, 10], 11.25)]),
        [
            "fyke.d_seconds:0.05|d|#cluster:users,zone:eu-1a",
            "fyke.d_seconds:0.3|d|@0.25|#cluster:users,zone:eu-1a",
            "fyke.d_seconds:1|d|@0.1|#cluster:users,zone:eu-1a",
        ]
    );
}

#[test]
fn timers_are_in_milliseconds_where_the_metric_is_of_time() {
    let timers = |settings: &mut Settings| settings.histograms = Histograms::Timers;
    let time = histogram([0, 2, 0, 0], 0.3);
    let bytes = MetricReading { unit: "By".into(), ..time.clone() };
    let mut sink = Sink::new(timers, Dialect::Plain);
    assert_eq!(sink.flush(&[time]), ["fyke.d_seconds.cluster.users.zone.eu-1a:150|ms|@0.5"]);
    let mut sink = Sink::new(timers, Dialect::Dog);
    assert_eq!(sink.flush(&[bytes]), ["fyke.d_seconds:0.15|h|@0.5|#cluster:users,zone:eu-1a"]);
}

#[test]
fn what_no_line_can_say_is_refused_with_the_reason() {
    let mut lines = plain().lines;
    lines.begin();
    for number in [f64::NAN, f64::INFINITY] {
        assert_eq!(lines.read(&gauge("a", number), &mut Vec::new()), Err(DropReason::Number));
        assert_eq!(lines.read(&counter("a", number), &mut Vec::new()), Err(DropReason::Number));
    }
    lines.read(&counter("a", 1_i64), &mut Vec::new()).unwrap();
    assert_eq!(lines.read(&counter("a", 1_i64), &mut Vec::new()), Err(DropReason::Duplicate));
}

#[test]
fn series_that_are_written_alike_are_still_told_apart() {
    let mut sink = plain();
    let with = |value: &'static str, number: i64| MetricReading {
        labels: vec![("a".into(), value.into())],
        ..counter("fyke_x", number)
    };
    assert_eq!(sink.flush(&[with("b.c", 100), with("b:c", 1)]), ["fyke.x.a.b_c:100|c", "fyke.x.a.b_c:1|c"]);
    assert_eq!(sink.flush(&[with("b.c", 101), with("b:c", 3)]), ["fyke.x.a.b_c:1|c", "fyke.x.a.b_c:2|c"]);
}

#[test]
fn a_gauge_for_whose_end_there_is_no_memory_is_told_all_the_same() {
    let mut sink = Sink::new(|settings| settings.memory = 1, Dialect::Plain);
    assert_eq!(sink.flush(&[gauge("fyke_a", 1_i64)]), ["fyke.a:1|g"]);
    assert!(sink.flush(&[]).is_empty());
}
