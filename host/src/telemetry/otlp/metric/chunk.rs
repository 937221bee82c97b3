//! Readings into requests below a limit of bytes.
//!
//! A chunk is filled in the order of the readings. What a data point adds is known before it is added: its own bytes,
//! and, for the first of its metric within the chunk, the metric's name, help and unit again. Lengths of nested
//! messages are counted at their largest, so a chunk is at most a few bytes per metric smaller than it could be, and
//! never larger.

use std::collections::HashMap;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{AggregationTemporality, Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum, metric},
};
use prost::Message;

use super::{MetricReading, MetricValue, Point, point};
use crate::telemetry::otlp::{
    record::{Head, LENGTH_BYTES},
    value::text,
};

/// Temporality and monotony of a sum.
const DATA_BYTES: usize = 4;

/// One request's worth of readings.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// The request, encoded.
    pub request: Vec<u8>,
    /// Its data points.
    pub points: u64,
    /// Data points that would not fit into any request, met since the last chunk.
    pub too_large: u64,
}

/// Requests of at most `limit` bytes that hold all of `readings`, in order. The last chunk may be empty if readings did
/// not fit.
pub fn chunks<I: IntoIterator<Item = MetricReading>>(
    head: &Head,
    readings: I,
    limit: usize,
) -> Chunks<'_, I::IntoIter> {
    Chunks { head, readings: readings.into_iter(), ahead: None, limit }
}

/// See [`chunks`].
pub struct Chunks<'a, I> {
    head: &'a Head,
    readings: I,
    /// Read, but for the next chunk.
    ahead: Option<Item>,
    limit: usize,
}

impl<I: Iterator<Item = MetricReading>> Chunks<'_, I> {
    /// Counts the readings that are in no chunk yet.
    #[must_use]
    pub fn left(self) -> u64 {
        let ahead = usize::from(self.ahead.is_some());
        u64::try_from(self.readings.count().saturating_add(ahead)).unwrap_or(u64::MAX)
    }
}

impl<I: Iterator<Item = MetricReading>> Iterator for Chunks<'_, I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let fixed = self.head.bytes();
        let mut bytes = fixed;
        let mut filling = Filling::default();
        let (mut points, mut too_large) = (0_u64, 0_u64);
        while let Some(item) = self.ahead.take().or_else(|| self.readings.next().map(Item::new)) {
            let alone = item.bytes.saturating_add(item.key.bytes());
            let more = if filling.by_key.contains_key(&item.key) { item.bytes } else { alone };
            if bytes.saturating_add(more) <= self.limit {
                bytes = bytes.saturating_add(more);
                points = points.saturating_add(1);
                filling.add(item);
            } else if fixed.saturating_add(alone) <= self.limit {
                self.ahead = Some(item);
                break;
            } else {
                too_large = too_large.saturating_add(1);
            }
        }
        if points == 0 && too_large == 0 {
            return None;
        }
        Some(Chunk { request: request(self.head, filling.metrics), points, too_large })
    }
}

/// What readings of one metric have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    help: String,
    unit: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Key {
    /// What a metric costs beside its data points.
    fn bytes(&self) -> usize {
        // The metric, three texts, the data.
        let lengths = LENGTH_BYTES.saturating_mul(5).saturating_add(DATA_BYTES);
        [self.name.len(), self.help.len(), self.unit.len()].into_iter().fold(lengths, usize::saturating_add)
    }

    fn metric(&self) -> Metric {
        let temporality = AggregationTemporality::Cumulative.into();
        let data = match self.kind {
            Kind::Counter => {
                metric::Data::Sum(Sum { aggregation_temporality: temporality, is_monotonic: true, ..Sum::default() })
            }
            Kind::Gauge => metric::Data::Gauge(Gauge::default()),
            Kind::Histogram => {
                metric::Data::Histogram(Histogram { aggregation_temporality: temporality, ..Histogram::default() })
            }
        };
        Metric {
            name: self.name.clone(),
            description: self.help.clone(),
            unit: self.unit.clone(),
            data: Some(data),
            ..Metric::default()
        }
    }
}

/// A reading on its way into a chunk.
struct Item {
    key: Key,
    point: Point,
    /// What the data point adds to a request.
    bytes: usize,
}

impl Item {
    fn new(reading: MetricReading) -> Self {
        let kind = match reading.value {
            MetricValue::Counter(_) => Kind::Counter,
            MetricValue::Gauge(_) => Kind::Gauge,
            MetricValue::Histogram(_) => Kind::Histogram,
        };
        let key = Key { name: text(reading.name), help: text(reading.help), unit: text(reading.unit), kind };
        let point = point(reading.labels, reading.value, (reading.start, reading.time), reading.exemplars);
        let length = match &point {
            Point::Number(point) => point.encoded_len(),
            Point::Histogram(point) => point.encoded_len(),
        };
        Self { key, point, bytes: length.saturating_add(LENGTH_BYTES) }
    }
}

#[derive(Default)]
struct Filling {
    metrics: Vec<Metric>,
    by_key: HashMap<Key, usize>,
}

impl Filling {
    fn add(&mut self, item: Item) {
        let position = self.by_key.get(&item.key).copied().unwrap_or_else(|| {
            self.metrics.push(item.key.metric());
            self.metrics.len().saturating_sub(1)
        });
        self.by_key.entry(item.key).or_insert(position);
        let data = self.metrics.get_mut(position).and_then(|metric| metric.data.as_mut());
        match (data, item.point) {
            (Some(metric::Data::Sum(sum)), Point::Number(point)) => sum.data_points.push(point),
            (Some(metric::Data::Gauge(gauge)), Point::Number(point)) => gauge.data_points.push(point),
            (Some(metric::Data::Histogram(histogram)), Point::Histogram(point)) => histogram.data_points.push(point),
            _ => debug_assert!(false, "a point and its metric are of one kind"),
        }
    }
}

fn request(head: &Head, metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { scope: Some(head.scope()), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        ResourceMetrics { resource: Some(head.resource()), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{common::v1::any_value, metrics::v1::number_data_point};
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::otlp::testing::{counter, head};

    fn metrics(request: &[u8]) -> Vec<Metric> {
        let mut request = ExportMetricsServiceRequest::decode(request).unwrap();
        request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
    }

    /// Numbers of all points of counters: each reading of the test has one of its own.
    fn numbers(metrics: &[Metric]) -> Vec<i64> {
        let mut numbers = Vec::new();
        for metric in metrics {
            let Some(metric::Data::Sum(sum)) = &metric.data else { panic!("no sum") };
            for point in &sum.data_points {
                let Some(number_data_point::Value::AsInt(number)) = point.value else { panic!("no integer") };
                numbers.push(number);
            }
        }
        numbers
    }

    #[test]
    fn series_of_one_metric_are_points_of_one_metric() {
        let head = head();
        let readings = [counter("a", "x", 1), counter("b", "x", 2), counter("a", "y", 3)];
        let mut all: Vec<_> = chunks(&head, readings, 1 << 20).collect();
        assert_eq!((all.len(), all[0].points), (1, 3));
        let metrics = metrics(&all.remove(0).request);
        assert_eq!(metrics.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else { panic!("no sum") };
        assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
        assert!(sum.is_monotonic);
        assert_eq!(sum.data_points.len(), 2);
        let label = sum.data_points[1].attributes[0].value.clone().unwrap();
        assert_eq!(label.value, Some(any_value::Value::StringValue("y".into())));
    }

    #[test]
    fn gauges_and_histograms_are_told_as_such() {
        let head = head();
        let gauge = MetricReading { value: MetricValue::Gauge(1.5.into()), ..counter("a", "x", 0) };
        let histogram = super::super::Histogram::new([1.0, 2.0].as_slice().into(), vec![1, 2, 3], 9.5).unwrap();
        let histogram = MetricReading { value: MetricValue::Histogram(histogram), ..counter("a", "x", 0) };
        let chunk = chunks(&head, [gauge, histogram], 1 << 20).next().unwrap();
        let metrics = metrics(&chunk.request);
        let Some(metric::Data::Gauge(gauge)) = &metrics[0].data else { panic!("no gauge") };
        assert_eq!((gauge.data_points[0].start_time_unix_nano, gauge.data_points[0].time_unix_nano), (0, 20));
        let Some(metric::Data::Histogram(histogram)) = &metrics[1].data else { panic!("no histogram") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, point.bucket_counts.len()), (6, Some(9.5), 3));
        assert_eq!(point.start_time_unix_nano, 10);
    }

    #[test]
    fn a_point_that_fits_nowhere_is_counted_and_passed_over() {
        let head = head();
        let readings = [counter("a", "x", 1), counter("a", &"y".repeat(4000), 2), counter("a", "z", 3)];
        let all: Vec<_> = chunks(&head, readings, 1000).collect();
        assert_eq!(all.iter().map(|chunk| chunk.too_large).sum::<u64>(), 1);
        let seen: Vec<_> = all.iter().flat_map(|chunk| numbers(&metrics(&chunk.request))).collect();
        assert_eq!(seen, [1, 3]);
    }

    #[test]
    fn without_readings_there_is_no_request() {
        assert_eq!(chunks(&head(), [], 1 << 20).count(), 0);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_no_request_is_above_the_limit(
            shapes in proptest::collection::vec((0_usize..5, 0_usize..300), 0..200),
            limit in 300_usize..5000,
        ) {
            let head = head();
            let readings: Vec<_> = (0..).zip(&shapes)
                .map(|(number, (name, size))| counter(&"name".repeat(name + 1), &"v".repeat(*size), number))
                .collect();
            let count = readings.len() as u64;
            let mut seen = Vec::new();
            let (mut points, mut too_large) = (0, 0);
            for chunk in chunks(&head, readings, limit) {
                prop_assert!(chunk.request.len() <= limit);
                let found = numbers(&metrics(&chunk.request));
                prop_assert_eq!(found.len() as u64, chunk.points);
                points += chunk.points;
                too_large += chunk.too_large;
                seen.extend(found);
            }
            prop_assert_eq!(points + too_large, count);
            seen.sort_unstable();
            let unique = seen.len();
            seen.dedup();
            prop_assert_eq!((seen.len() as u64, unique), (points, seen.len()));
            // Only what could not fit is missing.
            let fits = shapes.iter().filter(|(_, size)| size + 250 < limit).count();
            prop_assert!(seen.len() >= fits);
        }
    }
}
